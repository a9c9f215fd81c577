"""Waiting for what the kernel tells of a control group, on descriptors.

v2 tells that `cgroup.events` or `memory.events` has changed by POLLPRI, which trio does not wait
for; an epoll that holds only that file, and is readable when it does, is what trio waits on. It
needs no inotify instance, of which a user has 128 for all his programs.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator

import trio

from drivers.execution.cgroup_files import fields, read_or_empty, write

_EVENTS_BYTES = 4096


class Watch:
    """An events file: `read` tells how things are, `changed` waits for that to be different."""

    def __init__(self, file: int, changes: select.epoll) -> None:
        self._file = file
        self._changes = changes

    def read(self) -> dict[str, int]:
        """The file's fields; changes count from here on. Empty once the group is gone."""
        try:
            return fields(os.pread(self._file, _EVENTS_BYTES, 0).decode())
        except OSError:  # ENODEV
            return {}

    async def changed(self) -> None:
        """Wait until something has changed since the last `read`."""
        await trio.lowlevel.wait_readable(self._changes.fileno())


@contextlib.contextmanager
def watching(path: str) -> Iterator[Watch]:
    """Watch a v2 events file until the end of the block. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with select.epoll() as changes:
            changes.register(file, select.EPOLLPRI)
            yield Watch(file, changes)
    finally:
        os.close(file)


async def until(path: str, name: str, value: int) -> None:
    """Wait until a field of an events file has a value, or the group is gone."""
    try:
        with watching(path) as watch:
            while watch.read().get(name, value) != value:
                await watch.changed()
    except FileNotFoundError:
        return


async def watch_oom_v2(directory: str, tell: Callable[[], None]) -> None:
    """Call `tell` for each time processes were killed for want of memory, until the group is empty.

    Source: cgroup-v2.rst, memory.events. Raises OSError without the controller.
    """
    with watching(f"{directory}/memory.events") as watch:
        kills = _Kills(watch, tell)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kills.follow)
            # the removal of the group wakes nobody: not every kernel tells of it
            await until(f"{directory}/cgroup.events", "populated", 0)
            nursery.cancel_scope.cancel()
        kills.look()  # the kernel tells of events 10 ms apart at least


class _Kills:
    """How many kills have been told of."""

    def __init__(self, watch: Watch, tell: Callable[[], None]) -> None:
        self._watch = watch
        self._tell = tell
        self._seen = 0

    async def follow(self) -> None:
        """Tell of each; never ends."""
        while True:
            self.look()
            await self._watch.changed()

    def look(self) -> None:
        """Tell if there were more."""
        kills = self._watch.read().get("oom_kill", 0)
        if kills > self._seen:
            self._seen = kills
            self._tell()


async def watch_oom_v1(directory: str, tell: Callable[[], None]) -> None:
    """The same on v1: an eventfd that the kernel writes to. Source: cgroup-v1/memory.rst, 10."""
    told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = f"{directory}/memory.oom_control"
        about = os.open(control, os.O_RDONLY | os.O_CLOEXEC)
        try:
            write(f"{directory}/cgroup.event_control", f"{told} {about}")
        finally:
            os.close(about)
        if fields(read_or_empty(control)).get("oom_kill", 0):  # before there was a watch
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(told)
            tell()
        while True:
            await trio.lowlevel.wait_readable(told)
            os.eventfd_read(told)
            if not read_or_empty(control):
                return  # the kernel tells of the group's removal as well
            tell()
    finally:
        os.close(told)
