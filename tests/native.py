"""The native driver on a busybox root, for tests that look at real containers."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from drivers.execution import cgroup
from drivers.execution.base import Command, ExitStatus, IdMap, IdRange, MountAt, Pipes, Started
from drivers.execution.id_map import open_user_namespace
from drivers.execution.native import NativeExecution
from drivers.keeper.client import Keeper, open_keeper
from drivers.kernel import mount
from tests.rootfs import make_busybox_root

ENV = ("PATH=/bin",)
_RANGE = (IdRange(container_id=0, host_id=1_900_000_000, size=65536),)
IDS = IdMap(uids=_RANGE, gids=_RANGE)  # of a user namespace
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that has ended, and what it wrote."""

    status: ExitStatus
    stdout: str
    stderr: str


@contextlib.asynccontextmanager
async def open_native() -> AsyncIterator[tuple[NativeExecution, Keeper]]:
    """A driver of its own; nothing may be left of it at the end."""
    hierarchy = cgroup.detect()
    parent = f"/creche-test-{os.getpid()}-{next(_numbers)}"
    async with open_keeper() as keeper:
        driver = NativeExecution(keeper, hierarchy, parent)
        try:
            yield driver, keeper
        finally:
            await driver.close()
        assert await driver.leftovers() == []
        assert await keeper.kept() == {}
    assert not any(path.exists() for path in hierarchy.directories(parent).values())


class Box:
    """Runs commands in a root of their own."""

    def __init__(self, driver: NativeExecution, keeper: Keeper, root: Path) -> None:
        self.driver = driver
        self.keeper = keeper
        self.root = root

    async def run(self, *argv: str, stdin: bytes = b"", **options: Any) -> Ran:
        """Run a command to its end."""
        with contextlib.ExitStack() as held:
            command = self.command(held, *argv, **options)
            pipes, ends = _open_pipes(held)
            async with trio.open_nursery() as nursery:
                output = [_Output(ends[1], nursery), _Output(ends[2], nursery)]
                os.write(ends[0], stdin)
                os.close(ends[0])
                try:
                    status = await self.driver.run(command.key, lambda: command, pipes)
                finally:
                    for fd in (pipes.stdin, pipes.stdout, pipes.stderr):
                        os.close(fd)
        out, err = (stream.data.decode() for stream in output)
        return Ran(status=status, stdout=out, stderr=err)

    async def shell(self, script: str, **options: Any) -> Ran:
        """Run a shell script to its end."""
        return await self.run("sh", "-c", script, **options)

    async def start(
        self, nursery: trio.Nursery, script: str, **options: Any
    ) -> tuple[Started, trio.lowlevel.FdStream]:
        """Start a shell script in the background; its output is the stream."""
        with contextlib.ExitStack() as held:
            command = self.command(held, "sh", "-c", script, **options)
            reader, writer = os.pipe2(os.O_CLOEXEC)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for fd in (writer, null):
                held.callback(os.close, fd)
            stream = trio.lowlevel.FdStream(reader)
            pipes = Pipes(stdin=null, stdout=writer, stderr=writer)
            started: Started = await nursery.start(
                self.driver.run, command.key, lambda: command, pipes
            )
        return started, stream

    def command(
        self, held: contextlib.ExitStack, *argv: str, key: str = "box", **options: Any
    ) -> Command:
        """A command in this root."""
        root_fd = mount.open_tree_clone(str(self.root))
        held.callback(os.close, root_fd)
        return Command(key=key, root_fd=root_fd, argv=argv, **{"env": ENV, **options})


class MappedBox(Box):
    """Runs commands in a user namespace, in a root that is seen through its ids."""

    def command(
        self, held: contextlib.ExitStack, *argv: str, key: str = "box", **options: Any
    ) -> Command:
        """A command in this root."""
        options = {"id_map": IDS, **options}
        command = super().command(held, *argv, key=key, **options)
        userns_fd = open_user_namespace(options["id_map"])
        held.callback(os.close, userns_fd)
        mount.mount_setattr(command.root_fd, userns_fd=userns_fd)
        return command


class _Output:
    """Collects a stream to its end."""

    def __init__(self, fd: int, nursery: trio.Nursery) -> None:
        self.data = b""
        self._stream = trio.lowlevel.FdStream(fd)
        nursery.start_soon(self._collect)

    async def _collect(self) -> None:
        async with self._stream:
            async for chunk in self._stream:
                self.data += chunk


def _open_pipes(held: contextlib.ExitStack) -> tuple[Pipes, tuple[int, int, int]]:
    """Three pipes: the container's ends, and ours."""
    stdin, our_stdin = os.pipe2(os.O_CLOEXEC)
    our_stdout, stdout = os.pipe2(os.O_CLOEXEC)
    our_stderr, stderr = os.pipe2(os.O_CLOEXEC)
    return Pipes(stdin=stdin, stdout=stdout, stderr=stderr), (our_stdin, our_stdout, our_stderr)


@contextlib.asynccontextmanager
async def open_box(path: Path) -> AsyncIterator[Box]:
    """A box with a busybox root below `path`."""
    root = make_busybox_root(path / "root")
    async with open_native() as (driver, keeper):
        yield Box(driver, keeper, root)


@contextlib.asynccontextmanager
async def open_mapped_box(path: Path) -> AsyncIterator[MappedBox]:
    """The same for commands in user namespaces."""
    async with open_box(path) as box:
        yield MappedBox(box.driver, box.keeper, box.root)


def is_dead(pid: int) -> bool:
    """Whether a process has ended; its new parent may not have noticed yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


@contextlib.contextmanager
def bind(source: Path, target: str) -> Iterator[MountAt]:
    """A mount of a host's directory or file, for `Command.mounts`."""
    fd = mount.open_tree_clone(str(source))
    try:
        yield MountAt(fd=fd, target=target)
    finally:
        os.close(fd)
