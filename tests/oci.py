"""The oci driver with a real runtime, for tests that look at real containers."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from drivers.execution import cgroup
from drivers.execution.oci.driver import OciExecution, open_driver
from drivers.execution.oci.groups import every_mount
from drivers.keeper.client import Keeper, open_keeper

Find = Callable[[Path], str]  # a runtime's path, for tests in a directory

_numbers = itertools.count(1)
_SETTLE_S = 10.0
_V2_CONTROLLERS = Path("/sys/fs/cgroup/unified/cgroup.controllers")

# crun refuses a hybrid host on which v2 has a controller. Here that is hugetlb: mounted as v1 it
# leaves v2, which shows in this program's own mount namespace only.
_CRUN = """#!/bin/sh
exec unshare -m --propagation private sh -ec '
top=/sys/fs/cgroup new=/mnt
mount -t tmpfs -o mode=755 cgroup $new
for group in $top/*; do
    [ -d $group ] || continue
    mkdir $new/${group##*/}
    mount --bind $group $new/${group##*/}
done
mkdir $new/hugetlb
mount -t cgroup -o hugetlb cgroup $new/hugetlb
mount --move $new $top
exec crun "$@"' crun "$@"
"""
# Removes what crun has made there and tells what others have: a hierarchy with a group in it
# stays when it is unmounted.
_END_HUGETLB = """
mount -t cgroup -o hugetlb cgroup /mnt
find /mnt -mindepth 1 -depth -type d -path "/mnt$1*" -exec rmdir {} ';'
find /mnt -mindepth 1 -type d
"""


def runc(directory: Path) -> str:
    """The runtime as it is installed."""
    return "runc"


def crun(directory: Path) -> str:
    """crun, and where this host needs it a program that makes a place in which crun works."""
    if not _V2_CONTROLLERS.exists():
        return "crun"
    program = directory / "crun"
    program.write_text(_CRUN)
    program.chmod(0o755)
    return str(program)


def end_hugetlb(parent: str) -> None:
    """Give hugetlb back to v2, which the kernel does a moment after the last group has gone."""
    if not _V2_CONTROLLERS.exists():
        return
    end = time.monotonic() + _SETTLE_S
    while "hugetlb" not in _V2_CONTROLLERS.read_text():
        assert time.monotonic() < end, "hugetlb is still in use on v1"
        command = ["unshare", "-m", "sh", "-ec", _END_HUGETLB, "-", parent]
        done = subprocess.run(command, check=False, capture_output=True)
        # else what was found had gone when it was looked at: another test of this machine ends it
        if done.returncode == 0 and done.stdout:
            return  # another one works with it
        time.sleep(0.05)


@contextlib.asynccontextmanager
async def open_oci(
    directory: Path, find: Find = runc
) -> AsyncIterator[tuple[OciExecution, Keeper]]:
    """A driver of its own; nothing may be left of it at the end."""
    hierarchy = every_mount(cgroup.detect())
    parent = f"/creche-oci-test-{os.getpid()}-{next(_numbers)}"
    runtime = find(directory)
    async with open_keeper() as keeper:
        driver = open_driver(keeper, parent, directory / "run", {"runtime": runtime})
        try:
            yield driver, keeper
        finally:
            await driver.close()
            if find is crun:
                end_hugetlb(parent)
        assert await driver.leftovers() == []
        assert await keeper.kept() == {}
    assert not any(path.exists() for path in hierarchy.directories(parent).values())
