"""Shows that something goes on, once it takes longer than a moment and if somebody looks."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from rich.progress import Progress

MOMENT_S = 0.5
_CHUNK_BYTES = 256 * 1024


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Show `what` with a spinner until the block ends."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def spin() -> None:
        if done.wait(MOMENT_S):
            return
        from rich.console import Console

        with Console(stderr=True).status(what):
            done.wait()

    spinner = threading.Thread(target=spin, daemon=True)
    spinner.start()
    try:
        yield
    finally:
        done.set()
        spinner.join()


def chunks(file: BinaryIO, what: str, total_bytes: int | None) -> Iterator[bytes]:
    """The content of a file, with a bar that grows as it is taken."""
    started_s = time.monotonic()
    taken = 0
    with contextlib.ExitStack() as held:
        bar: Progress | None = None
        while data := file.read(_CHUNK_BYTES):
            yield data
            taken += len(data)
            late = time.monotonic() - started_s > MOMENT_S
            if bar is None and late and sys.stderr.isatty():
                bar = held.enter_context(_bar())
                bar.add_task(what, total=total_bytes)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=taken)


def _bar() -> Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
