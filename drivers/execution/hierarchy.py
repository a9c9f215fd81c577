"""Where control groups are on this host: v1, v2, or v1 beside a v2 without controllers.

Sources: the kernel's cgroup-v1/*.rst and cgroup-v2.rst, proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from drivers.errors import DriverError
from drivers.execution.cgroup_files import read, read_or_empty, write
from drivers.kernel.user_namespace import in_user_namespace

# Every name that may stand among the mount options of a v1 hierarchy.
_V1_CONTROLLERS = frozenset(
    [
        *("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory"),
        *("misc", "net_cls", "net_prio", "perf_event", "pids", "rdma"),
    ]
)
_V2_WANTED = ("cpu", "memory", "pids", "io", "cpuset")
DAEMONS_OWN = "creched"  # the group below a delegated one in which the daemon itself is
_SET_ASIDE = "trusted.delegate"  # the attribute that Delegate= sets
_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
# By version: what every group with the controller for block devices has, but for the root; and
# what it has if this kernel can share devices by weight.
_BLOCK_FILES = {1: "blkio.reset_stats", 2: "io.stat"}
_WEIGHT_FILES = {1: ("blkio.bfq.weight", "blkio.weight"), 2: ("io.bfq.weight", "io.weight")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Where control groups are on this host.

    `mounts` has one entry for v2, with the name "", and one for each mount of v1, named by the
    controllers mounted there together ("memory", "cpu,cpuacct").
    """

    version: Literal[1, 2]
    mounts: Mapping[str, Path]
    # v2: the groups whose controllers have been handed down to those below
    handed_down: set[str] = field(default_factory=set, compare=False)

    def holding(self, controller: str) -> str | None:
        """The name of the mount that has a controller, if it is mounted at all."""
        if self.version == 2:
            return ""
        return next((name for name in self.mounts if controller in name.split(",")), None)

    def directories(self, group: str) -> dict[str, Path]:
        """The directory of a group ("/creche/KEY") in every mount."""
        return {name: mount / group.lstrip("/") for name, mount in self.mounts.items()}


def detect(mountinfo: Path = Path("/proc/self/mountinfo")) -> Hierarchy:
    """Look which version this host uses. Source: proc_pid_mountinfo(5).

    A v2 mount wins if it has the controllers that matter; a hybrid host keeps those in v1. Where
    only a part of v2 is ours, that part stands for the mount.
    Raises DriverError if there is no control group file system at all.
    """
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for line in mountinfo.read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4])
        fstype, _, options = after.split(" ", 2)
        if fstype == "cgroup2":
            v2 = v2 or mount
        elif fstype == "cgroup":
            name = ",".join(o for o in options.split(",") if o in _V1_CONTROLLERS)
            if name:
                v1.setdefault(name, mount)
    if in_user_namespace():
        v1 = {name: mount for name, mount in v1.items() if os.access(mount, os.W_OK)}
        v2 = v2 and delegated(v2)
        if not v1 and v2 is None:
            return Hierarchy(version=1, mounts={})  # containers are in no groups of their own
    elif v2 is not None and Path(_own_group()).name == DAEMONS_OWN:
        v2 = delegated(v2)
    if v2 is not None and "memory" in (v2 / "cgroup.controllers").read_text().split():
        return Hierarchy(version=2, mounts={"": v2})
    if v1:
        return Hierarchy(version=1, mounts=v1)
    if v2 is not None:
        return Hierarchy(version=2, mounts={"": v2})
    raise DriverError("no control group file system is mounted: mount one at /sys/fs/cgroup")


def delegated(v2: Path) -> Path | None:
    """The group that is ours, all of them or the one that this process is in; None if none is.

    Source: cgroup-v2.rst, "Delegation".
    """
    own = v2 / _own_group().lstrip("/")
    if own.name == DAEMONS_OWN:
        own = own.parent
    for group in (v2, own) if in_user_namespace() else (own,):
        if all(os.access(place, os.W_OK) for place in (group, group / "cgroup.procs")):
            return group
    return None


def make_room(v2: Path) -> None:
    """Leave the group that is ours for one below: a group with processes gives none of its own
    controllers. Raises OSError.
    """
    group = delegated(v2)
    if group is not None and (v2 / _own_group().lstrip("/")).name != DAEMONS_OWN:
        (group / DAEMONS_OWN).mkdir(exist_ok=True)
        write(str(group / DAEMONS_OWN / "cgroup.procs"), "0")


def make_room_in_service() -> None:
    """The same in a group that a service manager has set aside for its service.

    Only for who is alone there, the service itself: what it calls takes nobody's group.
    Raises OSError. Source: systemd's CGROUP_DELEGATION.md.
    """
    v2 = v2_mount()
    if v2 is None:
        return
    own = v2 / _own_group().lstrip("/")
    has_memory = "memory" in read_or_empty(f"{own}/cgroup.controllers").split()
    is_alone = read_or_empty(f"{own}/cgroup.procs").split() == [str(os.getpid())]
    if has_memory and is_alone and _is_set_aside(own):
        make_room(v2)


def _is_set_aside(group: Path) -> bool:
    try:
        return os.getxattr(group, _SET_ASIDE) == b"1"
    except OSError:
        return False


def _own_group() -> str:
    """Where this process is on v2. Source: cgroups(7), /proc/PID/cgroup."""
    lines = read_or_empty("/proc/self/cgroup").splitlines()
    return next((line[3:] for line in lines if line.startswith("0::")), "/")


def v2_mount(mountinfo: Path = Path("/proc/self/mountinfo")) -> Path | None:
    """Where v2 is mounted. Source: proc_pid_mountinfo(5)."""
    for line in mountinfo.read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    return None


def has_block_weights(hierarchy: Hierarchy) -> bool:
    """Whether this kernel shares block devices by weight, as far as a group there can tell."""
    name = hierarchy.holding("blkio")
    if name is None:
        return False
    groups = list(hierarchy.mounts[name].glob(f"*/{_BLOCK_FILES[hierarchy.version]}"))
    weights = _WEIGHT_FILES[hierarchy.version]
    return not groups or any((file.parent / name).exists() for file in groups for name in weights)


def v2_flags(mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[str, ...]:
    """How v2 is mounted: nsdelegate, memory_recursiveprot. Source: cgroup-v2.rst, "Mounting"."""
    for line in mountinfo.read_text().splitlines():
        options = line.partition(" - cgroup2 ")[2].split()
        if options:
            return tuple(one for one in options[-1].split(",") if one not in ("rw", "ro"))
    return ()


def hand_down(hierarchy: Hierarchy, parent: str) -> None:
    """v2: make `parent` where it is missing, every level handing its controllers down.

    Raises OSError. What cannot be handed down fails the limit that needs it, by name.
    """
    level = str(hierarchy.mounts[""])
    for part in ("", *Path(parent.strip("/")).parts):
        if part:
            level = f"{level}/{part}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(level)
        there = read(f"{level}/cgroup.controllers").split()
        enabled = read(f"{level}/cgroup.subtree_control").split()
        for name in _V2_WANTED:
            if name in there and name not in enabled:
                with contextlib.suppress(OSError):
                    write(f"{level}/cgroup.subtree_control", f"+{name}")
    hierarchy.handed_down.add(parent)


def fill_cpuset(mount: str, group: str) -> None:
    """v1: give a group and those above it the processors and memory nodes of their parents.

    A new cpuset has none, and no process can join it.
    """
    above = mount
    for part in Path(group.strip("/")).parts:
        level = f"{above}/{part}"
        for file in _CPUSET_FILES:
            if not read_or_empty(f"{level}/{file}").strip():
                write(f"{level}/{file}", read(f"{above}/{file}").strip())
        above = level


def leftovers(hierarchy: Hierarchy, parent: str) -> list[str]:
    """The names of all groups below `parent`."""
    found: set[str] = set()
    for directory in hierarchy.directories(parent).values():
        with contextlib.suppress(FileNotFoundError):
            found |= {entry.name for entry in os.scandir(directory) if entry.is_dir()}
    return sorted(found)


def remove_parent(hierarchy: Hierarchy, parent: str) -> None:
    """Remove the group that holds the containers' groups, if it is empty."""
    hierarchy.handed_down.discard(parent)
    for directory in hierarchy.directories(parent).values():
        with contextlib.suppress(OSError):  # in use by another daemon, or never made
            os.rmdir(directory)
