"""Stopping the processes of a control group where they are, and letting them go on.

Sources: cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, cgroup.freeze.
"""

from __future__ import annotations

import contextlib

import trio

from drivers.execution.cgroup_files import read_or_empty, write
from drivers.execution.cgroup_watch import until
from drivers.kernel.tree import directories

FREEZE_S = 10.0
_FIRST_DELAY_S = 0.0005
_LONGEST_DELAY_S = 0.01


async def freeze(version: int, directory: str) -> bool:
    """Stop every process of a group and of those below; whether all have stopped in time.

    Cancelled, or with an OSError, all go on; those that did stop in time stay so until `thaw`.
    """
    try:
        with trio.move_on_after(FREEZE_S):
            if version == 2:
                write(f"{directory}/cgroup.freeze", "1")
                await until(f"{directory}/cgroup.events", "frozen", 1)
            else:
                await _freeze_v1(directory)
            return True
    except BaseException:  # cancelled too: half frozen is worse than not
        thaw(version, directory)
        raise
    return False


async def _freeze_v1(directory: str) -> None:
    delay_s = _FIRST_DELAY_S
    while True:
        # asked for again each time: a process that was being made meanwhile may have been missed
        write(f"{directory}/freezer.state", "FROZEN")
        if read_or_empty(f"{directory}/freezer.state").strip() != "FREEZING":
            return
        await trio.sleep(delay_s)  # v1 has no descriptor that tells of it
        delay_s = min(delay_s * 2, _LONGEST_DELAY_S)


def thaw(version: int, directory: str) -> None:
    """Let every process of a group go on. Nothing happens if the group is gone."""
    with contextlib.suppress(FileNotFoundError):
        if version == 2:
            write(f"{directory}/cgroup.freeze", "0")
        else:
            write(f"{directory}/freezer.state", "THAWED")


def begin_to_freeze(directory: str) -> None:
    """v1: begin to stop the processes, without waiting: none forks any more once it has stopped."""
    with contextlib.suppress(FileNotFoundError):
        write(f"{directory}/freezer.state", "FROZEN")


def thaw_below(directory: str) -> None:
    """v1: let processes go on in every group below as well, which may be frozen by itself."""
    for level in directories(directory, lambda _: None):
        thaw(1, level)
