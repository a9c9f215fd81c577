"""Having none left of what the kernel gives: descriptors, processes, memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import trio
import trio.testing

from drivers.execution.cgroup import ControlGroup, detect, remove_parent
from drivers.execution.resources import Limits

_numbers = itertools.count(1)


@contextlib.contextmanager
def without_descriptors() -> Iterator[None]:
    """This process can open nothing until the end of the block; what is open stays so."""
    with at_most_descriptors(os.getpid(), 0):
        yield


@contextlib.contextmanager
def at_most_descriptors(pid: int, number: int) -> Iterator[None]:
    """A process may have so many until the end of the block; what is open stays so."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def open_descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.contextmanager
def limited(pid: int, limits: Limits) -> Iterator[ControlGroup]:
    """A process is in a control group of its own until the end of the block, or its own end."""
    hierarchy = detect()
    parent = f"/creche-unit-shortage-{os.getpid()}-{next(_numbers)}"
    group = ControlGroup(hierarchy, parent, "k", limits)
    group.create()
    before = _groups_of(pid)
    places = hierarchy.directories(group.path)
    joined = {name: place for name, place in places.items() if place.exists()}
    try:
        for place in joined.values():
            (place / "cgroup.procs").write_text(str(pid))
        yield group
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            for name in joined:
                home = hierarchy.mounts[name] / before[name].lstrip("/")
                (home / "cgroup.procs").write_text(str(pid))
        for place in joined.values():
            place.rmdir()
        remove_parent(hierarchy, parent)


@contextlib.asynccontextmanager
async def without_threads() -> AsyncIterator[None]:
    """No thread can be started, and those that had nothing to do are busy."""
    end, refused = threading.Event(), trio.Event()

    async def occupy() -> None:
        try:
            await trio.to_thread.run_sync(end.wait, limiter=trio.CapacityLimiter(1))
        except RuntimeError:
            refused.set()

    with limited(os.getpid(), Limits(pids=1)):
        async with trio.open_nursery() as nursery:
            try:
                while not refused.is_set():
                    nursery.start_soon(occupy)
                    await trio.testing.wait_all_tasks_blocked()
                yield
            finally:
                end.set()


def _groups_of(pid: int) -> dict[str, str]:
    """Where a process is, by the names of the mounts. Source: cgroups(7), /proc/PID/cgroup."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":")[1]: line.split(":", 2)[2] for line in lines}
