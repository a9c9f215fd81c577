"""What many tests ask of the real docker client."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.system.daemon import PATIENCE_S, Daemon


def run(daemon: Daemon, *arguments: str) -> str:
    """Standard output of `docker run --rm ...`, which must succeed."""
    return daemon.docker("run", "--rm", *arguments, check=True).stdout


@contextlib.contextmanager
def running(daemon: Daemon, *arguments: str) -> Iterator[str]:
    """The id of a container that runs until the end of the block."""
    made = daemon.docker("run", "-d", *arguments, "busybox", "sleep", "100000", check=True)
    try:
        yield made.stdout.strip()
    finally:
        daemon.docker("rm", "-f", made.stdout.strip(), check=True)


def field(daemon: Daemon, name: str, path: str) -> str:
    """A field of a container, as ".State.Pid"."""
    return daemon.docker("inspect", "-f", "{{" + path + "}}", name, check=True).stdout.strip()


def state(daemon: Daemon, name: str) -> dict[str, Any]:
    """How a container is doing, as inspect shows it."""
    (found,) = json.loads(daemon.docker("inspect", name, check=True).stdout)
    shown: dict[str, Any] = found["State"]
    return shown


def until(holds: Callable[[], object]) -> None:
    """Wait for what no descriptor tells of."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
