"""What the tests of the oci driver share: containers of real runtimes, and processes in them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from drivers.errors import (
    NotRunning,
    leaves,
)
from drivers.execution.base import (
    ExitStatus,
    Pipes,
    Process,
    Started,
)
from tests.native import ENV, Box
from tests.oci import Find, crun, open_oci, runc
from tests.rootfs import make_busybox_root

DEFAULT_CAPABILITIES = "00000000a80425fb"
both = pytest.mark.parametrize("box", [runc, crun], indirect=True, ids=["runc", "crun"])


@contextlib.asynccontextmanager
async def open_box(runtime: Find, directory: Path) -> AsyncIterator[Box]:
    root = make_busybox_root(directory / "root")
    async with open_oci(directory, runtime) as (driver, keeper):
        yield Box(driver, keeper, root)  # type: ignore[arg-type]


@contextlib.contextmanager
def raises(kind: type[Exception], words: str) -> Iterator[None]:
    """The block fails with one error, which came through nurseries."""
    with pytest.raises(ExceptionGroup) as caught:
        yield
    [error] = leaves(caught.value)
    assert type(error) is kind
    assert re.search(words, str(error))


async def read(stream: trio.lowlevel.FdStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = await stream.receive_some(size - len(data))
        assert chunk, data
        data += chunk
    return data


class Exec:
    """Runs further processes in the container "box"; what they write comes from `output`."""

    def __init__(self, box: Box) -> None:
        self.box = box
        reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self.output = trio.lowlevel.FdStream(reader)

    async def run(
        self,
        *argv: str,
        stdin: int | None = None,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
        **options: Any,
    ) -> ExitStatus:
        """Run a process to its end; `output` is at its end then, unless another one runs."""
        with contextlib.ExitStack() as held:
            if stdin is None:
                stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                held.callback(os.close, stdin)
            pipes = Pipes(stdin=stdin, stdout=self._writer, stderr=self._writer)
            process = Process(key="box", argv=argv, **{"env": ENV, **options})
            return await self.box.driver.exec(process, pipes, task_status=task_status)  # type: ignore[attr-defined]

    async def text(self) -> str:
        """All that has been written."""
        os.close(self._writer)
        self._writer = -1
        return b"".join([chunk async for chunk in self.output]).decode()

    async def aclose(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
        await self.output.aclose()


@contextlib.asynccontextmanager
async def running(box: Box, **options: Any) -> AsyncIterator[tuple[Started, Exec]]:
    """A container in which further processes can be run; it is ended with the block."""
    async with trio.open_nursery() as nursery:
        started, output = await box.start(nursery, "sleep 1000000", **options)
        execution = Exec(box)
        try:
            yield started, execution
        finally:
            await execution.aclose()
            await output.aclose()
            with contextlib.suppress(NotRunning):
                await box.driver.terminate("box")


def drain_terminal(fd: int) -> str:
    """What was written to a terminal that nobody has open any more; it is closed."""
    data = b""
    with contextlib.suppress(OSError):  # EIO: the end
        while chunk := os.read(fd, 4096):
            data += chunk
    os.close(fd)
    return data.decode()
