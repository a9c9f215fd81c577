"""Execution drivers as the conformance suite sees them: one row each."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import trio

from drivers.errors import CommandNotExecutable
from drivers.execution import base
from drivers.execution.base import (
    Command,
    ExecutionDriver,
    ExitStatus,
    Pipes,
    Started,
    WindowSize,
)
from drivers.execution.resources import Limits
from drivers.kernel import mount
from tests.cancel import STRIDE
from tests.fakes.execution import FakeExecution, Process, exits, fails, runs_forever
from tests.native import ENV, open_native
from tests.oci import crun, open_oci, runc
from tests.rootfs import make_busybox_root

# What the suite runs: commands of a busybox root, and scripts of the fake under the same names.
TRUE = ("true",)
EXIT_3 = ("sh", "-c", "exit 3")
SPEAKS = ("sh", "-c", "echo out; echo err >&2")
FOREVER = ("sh", "-c", "echo ready; exec sleep 1000000")
DEAF = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000000; done")
OBEYS = ("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done")
BUSY = ("sh", "-c", "echo ready; while :; do :; done")
HOGS = ("sh", "-c", "echo ready; tail /dev/zero; exec sleep 1000000")  # and outlives its child
MISSING = ("nope",)
NOT_EXECUTABLE = ("/etc/passwd",)


async def _obeys(process: Process) -> int:
    process.ignored.add(signal.SIGTERM)
    process.write(b"ready\n")
    await process.signal_arrived.wait()
    return 7


_SCRIPTS = {
    OBEYS: _obeys,
    TRUE: exits(0),
    EXIT_3: exits(3),
    SPEAKS: exits(0, stdout=b"out\n", stderr=b"err\n"),
    FOREVER: runs_forever(stdout=b"ready\n"),
    DEAF: runs_forever(stdout=b"ready\n", ignoring=frozenset({signal.SIGTERM})),
    NOT_EXECUTABLE: fails(
        CommandNotExecutable("exec", 13, 'exec: "/etc/passwd": permission denied')
    ),
}


class Rig:
    """A driver with somewhere to run commands."""

    def __init__(self, driver: ExecutionDriver, root: Path, *, stride: int = 1) -> None:
        """`stride`: cancelled work is so at every so many-th of its steps."""
        self.driver = driver
        self.stride = stride
        self._root = root

    async def run(
        self,
        argv: tuple[str, ...],
        *,
        key: str = "k",
        user: str = "",
        stdout: int | None = None,
        stderr: int | None = None,
        limits: Limits | None = None,
        terminal: WindowSize | None = None,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        """Run a command to its end; without descriptors it writes to nobody."""
        with ExitStack() as held:
            root_fd = mount.open_tree_clone(str(self._root))
            held.callback(os.close, root_fd)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            held.callback(os.close, null)
            pipes = Pipes(
                stdin=null,
                stdout=null if stdout is None else stdout,
                stderr=null if stderr is None else stderr,
            )
            command = Command(
                key=key,
                root_fd=root_fd,
                argv=argv,
                env=ENV,
                user=user,
                limits=limits or Limits(),
                terminal=terminal,
            )
            return await self.driver.run(key, lambda: command, pipes, task_status=task_status)

    async def exec(self, argv: tuple[str, ...], *, terminal: WindowSize | None) -> ExitStatus:
        """Run one more process to its end; it writes to nobody."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            process = base.Process(key="k", argv=argv, env=ENV, terminal=terminal)
            pipes = Pipes(stdin=null, stdout=null, stderr=null)
            return await self.driver.exec(process, pipes, task_status=ClosesTerminal())
        finally:
            os.close(null)

    @contextlib.asynccontextmanager
    async def ready(
        self, argv: tuple[str, ...], *, limits: Limits | None = None
    ) -> AsyncIterator[list[ExitStatus]]:
        """A command that has said that it is ready; its end is in the list after the block."""
        ends: list[ExitStatus] = []
        reader, writer = os.pipe2(os.O_CLOEXEC)

        async def run(*, task_status: trio.TaskStatus[Started]) -> None:
            ends.append(await self.run(argv, stdout=writer, limits=limits, task_status=task_status))

        async with trio.lowlevel.FdStream(reader) as output, trio.open_nursery() as nursery:
            try:
                await nursery.start(run)
            finally:
                os.close(writer)
            assert await output.receive_some() == b"ready\n"
            yield ends


class ClosesTerminal(trio.TaskStatus[Started]):
    """Takes a terminal over, whose it is from the start on, and hangs up at once."""

    def started(self, value: Started | None = None) -> None:
        assert value is not None
        if value.terminal_fd is not None:
            os.close(value.terminal_fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A driver, how it is opened in a directory, and what of the contract it cannot show."""

    name: str
    open: Callable[[Path], AbstractAsyncContextManager[Rig]]
    lacks: frozenset[str] = frozenset()


@contextlib.asynccontextmanager
async def _open_native(path: Path) -> AsyncIterator[Rig]:
    async with open_native() as (driver, _):
        yield Rig(driver, make_busybox_root(path))


@contextlib.asynccontextmanager
async def _open_runc(path: Path) -> AsyncIterator[Rig]:
    async with open_oci(path, runc) as (driver, _):
        yield Rig(driver, make_busybox_root(path / "root"), stride=STRIDE)


@contextlib.asynccontextmanager
async def _open_crun(path: Path) -> AsyncIterator[Rig]:
    async with open_oci(path, crun) as (driver, _):
        yield Rig(driver, make_busybox_root(path / "root"), stride=STRIDE)


@contextlib.asynccontextmanager
async def _open_fake(path: Path) -> AsyncIterator[Rig]:
    driver = FakeExecution(_SCRIPTS)
    yield Rig(driver, path)
    assert driver.live == {}


ROWS = (
    Row(name="native", open=_open_native),
    Row(name="oci", open=_open_runc),
    Row(name="oci with crun", open=_open_crun),
    Row(
        name="fake", open=_open_fake, lacks=frozenset({"users", "usage", "stats", "update", "oom"})
    ),
)
