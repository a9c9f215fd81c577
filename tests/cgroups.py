"""Control groups of this host, for tests on the real file systems; v2 also where v1 is in use."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from drivers.execution.cgroup import ControlGroup, Hierarchy, detect, remove_parent
from drivers.execution.resources import DeviceRule, Limits

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


def start_in(group: ControlGroup, script: str) -> subprocess.Popen[bytes]:
    """A shell script that runs in a group."""
    fds = group.open_to_join()
    try:
        if group.version == 1:
            join = [f"echo 0 > /dev/fd/{fd}" for fd in fds]
        else:
            join = [f"echo $$ > /proc/self/fd/{fds[0]}/cgroup.procs"]
        return subprocess.Popen(
            ["sh", "-c", "; ".join([*join, script])],
            pass_fds=fds,
            stdout=subprocess.PIPE,
        )
    finally:
        for fd in fds:
            os.close(fd)
