"""Control groups of this host, for tests on the real file systems; v2 also where v1 is in use."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import trio

from drivers.execution.cgroup import ControlGroup, Hierarchy, detect, remove_parent
from drivers.execution.resources import DeviceRule, Limits

_PATIENCE_S = 60.0
_numbers = itertools.count(1)


def v2() -> Hierarchy:
    """The host's v2 file system, perhaps without controllers."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Hierarchy(version=2, mounts={"": Path(before.split()[4])})
    raise AssertionError("this host has no cgroup2 file system mounted")


def both() -> list[Hierarchy]:
    """What this host uses, and its v2 file system if that is another."""
    used = detect()
    return [used] if used.version == 2 else [used, v2()]


@contextlib.asynccontextmanager
async def open_group(
    hierarchy: Hierarchy,
    limits: Limits | None = None,
    device_rules: tuple[DeviceRule, ...] = (),
) -> AsyncIterator[ControlGroup]:
    """A group that has been made; it is removed at the end, with what is in it."""
    parent = f"/creche-unit-{os.getpid()}-{next(_numbers)}"
    group = ControlGroup(hierarchy, parent, "k", limits or Limits(), device_rules)
    try:
        group.create()
        yield group
    finally:
        with trio.CancelScope(shield=True):
            await group.remove()
        remove_parent(hierarchy, parent)


@contextlib.asynccontextmanager
async def running_in(group: ControlGroup, script: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A shell script that runs in a group; all of the group ends with the block."""
    with _start_in(group, script) as process:
        try:
            await eventually(lambda: process.pid in group.pids() or process.poll() is not None)
            yield process
        finally:
            process.kill()
            group.kill()


def _start_in(group: ControlGroup, script: str) -> subprocess.Popen[bytes]:
    fds = group.open_to_join(group.hierarchies)
    try:
        if group.version == 1:
            join = [f"echo 0 > /dev/fd/{fd}" for fd in fds]
        else:
            join = [f"echo $$ > /proc/self/fd/{fds[0]}/cgroup.procs"]
        return subprocess.Popen(
            ["sh", "-c", "; ".join([*join, script])],
            pass_fds=fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    finally:
        for fd in fds:
            os.close(fd)


async def eventually(holds: Callable[[], object]) -> None:
    """Wait for what no descriptor tells of. Raises TooSlowError."""
    with trio.fail_after(_PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(0.002)
