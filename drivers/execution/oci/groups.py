"""Where a runtime makes control groups: on v1 in more mounts than limits need."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from drivers.execution.cgroup import Hierarchy
from drivers.execution.hierarchy import v2_mount


def every_mount(hierarchy: Hierarchy, mountinfo: Path = Path("/proc/self/mountinfo")) -> Hierarchy:
    """`hierarchy` with the mounts that have no controllers: v1's named ones, v2 beside v1.

    Source: proc_pid_mountinfo(5).
    """
    if hierarchy.version == 2 or not hierarchy.mounts:  # a rootless daemon may have none
        return hierarchy
    mounts = dict(hierarchy.mounts)
    for line in mountinfo.read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4])
        fstype, _, options = after.split(" ", 2)
        named = next((option for option in options.split(",") if option.startswith("name=")), "")
        if fstype == "cgroup2":
            mounts.setdefault("unified", mount)
        elif fstype == "cgroup" and named:
            mounts.setdefault(named, mount)
    return dataclasses.replace(hierarchy, mounts=mounts)


def path_for_runtime(hierarchy: Hierarchy, group: str) -> str:
    """The path of a group below the mounts, where one that is delegated to us is deeper down.

    Empty if there are no groups for us.
    """
    top = v2_mount() if hierarchy.version == 2 else None
    if top is None:
        return group if hierarchy.mounts else ""
    return f"/{hierarchy.mounts[''].relative_to(top) / group.lstrip('/')}"


def can_limit_swap(hierarchy: Hierarchy) -> bool:
    """Whether the kernel counts swap. v2 always has the file where memory is limited."""
    if hierarchy.version == 2:
        return True
    name = hierarchy.holding("memory")
    if name is None:
        return False
    return (hierarchy.mounts[name] / "memory.memsw.limit_in_bytes").exists()
