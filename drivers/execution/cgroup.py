"""Control groups: one for each container, on cgroup v1, v2, and v1 beside an empty v2.

Sources: the kernel's cgroup-v1/*.rst and cgroup-v2.rst. cgroupfs is memory, not a disk: its files
are read and written where they are needed, without a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio

from drivers.errors import DriverError, LimitUnavailable, from_os_error
from drivers.execution.resources import Limits

CPU_PERIOD_USEC = 100_000  # Docker's and the kernel's default
REMOVE_S = 10.0

_V1_ALWAYS = ("memory", "pids", "freezer")  # to count, to find and to stop processes
# Every name that may stand among the mount options of a v1 hierarchy.
_V1_CONTROLLERS = frozenset(
    [
        *("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory"),
        *("misc", "net_cls", "net_prio", "perf_event", "pids", "rdma"),
    ]
)
_V2_WANTED = ("cpu", "memory", "pids", "io", "cpuset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Where control groups are on this host.

    `mounts` has one entry for v2, with the name "", and one for each mount of v1, named by the
    controllers mounted there together ("memory", "cpu,cpuacct").
    """

    version: Literal[1, 2]
    mounts: Mapping[str, Path]

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

    A v2 mount wins if it has the controllers that matter; a hybrid host keeps those in v1.
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
    if v2 is not None and "memory" in (v2 / "cgroup.controllers").read_text().split():
        return Hierarchy(version=2, mounts={"": v2})
    if v1:
        return Hierarchy(version=1, mounts=v1)
    if v2 is not None:
        return Hierarchy(version=2, mounts={"": v2})
    raise DriverError("no control group file system is mounted: mount one at /sys/fs/cgroup")


class ControlGroup:
    """The group of one container. Made by `create`; `open_to_join` leads a process into it."""

    def __init__(
        self, hierarchy: Hierarchy, parent: str, key: str, limits: Limits | None = None
    ) -> None:
        """`limits` decide which v1 controllers have the group; None means every one that may."""
        self.path = f"{parent.rstrip('/')}/{key}"
        self.version = hierarchy.version
        self._hierarchy = hierarchy
        self._parent = parent
        self._limits = limits or Limits()
        self._directories = hierarchy.directories(self.path)
        if hierarchy.version == 1 and limits is not None:
            controllers = (*_V1_ALWAYS, *(("cpu",) if limits.nano_cpus is not None else ()))
            # each costs a directory made and removed: only those that are of use
            held = {hierarchy.holding(controller) for controller in controllers}
            self._directories = {n: d for n, d in self._directories.items() if n in held}

    @property
    def hierarchies(self) -> list[str]:
        """v1: the mounts whose group a process must join one by one, as `open_to_join` opens."""
        return list(self._directories) if self.version == 1 else []

    def _directory(self, controller: str) -> Path | None:
        """Where the files of a controller are."""
        name = self._hierarchy.holding(controller)
        return None if name is None else self._directories.get(name)

    def create(self) -> None:
        """Make the group and set its limits. Raises LimitUnavailable naming what cannot be set."""
        if self.version == 2:
            self._enable_controllers()
        try:
            for directory in self._directories.values():
                with contextlib.suppress(FileExistsError):
                    directory.parent.mkdir(parents=True)
                directory.mkdir()
        except OSError as error:
            raise from_os_error(error, f"make control group {self.path}") from error
        for controller, file, value, what in _settings(self.version, self._limits):
            self._set(controller, file, value, what)

    def _enable_controllers(self) -> None:
        """v2: let every level above hand the controllers down."""
        top = self._hierarchy.mounts[""]
        level = top
        for part in ("", *Path(self._parent.strip("/")).parts):
            level = level / part
            with contextlib.suppress(FileExistsError):
                level.mkdir()
            there = (level / "cgroup.controllers").read_text().split()
            enabled = (level / "cgroup.subtree_control").read_text().split()
            for name in _V2_WANTED:
                if name in there and name not in enabled:
                    # what cannot be enabled fails the limit that needs it, by name
                    with contextlib.suppress(OSError):
                        (level / "cgroup.subtree_control").write_text(f"+{name}")

    def _set(self, controller: str, file: str, value: str, what: str) -> None:
        directory = self._directory(controller)
        try:
            if directory is None:
                raise FileNotFoundError(2, "no such controller", controller)
            (directory / file).write_text(value)
        except OSError as error:
            if what == "swap" and isinstance(error, FileNotFoundError) and not _swap_exists():
                return  # without swap the limit holds by itself
            cause = error.strerror or "refused"
            raise LimitUnavailable(
                f"{what} cannot be limited here: control group {self.path}, {file}: "
                f"{cause.lower()} (see `crechectl doctor` for the controllers of this host)"
            ) from error

    def open_to_join(self) -> list[int]:
        """v1: `tasks` of each of `hierarchies`; v2: the directory, for clone3.

        A process with one thread joins by `tasks` in 0.1 ms. By `cgroup.procs` it would wait for
        an RCU grace period, some 10 ms, because the kernel stops all forks meanwhile.
        """
        if self.version == 2:
            return [os.open(self._directories[""], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        return [
            os.open(d / "tasks", os.O_WRONLY | os.O_CLOEXEC) for d in self._directories.values()
        ]

    def pids(self) -> list[int]:
        """Every process in the group and in groups that it made below."""
        found: set[int] = set()
        for top in self._directories.values():
            for directory, _, _ in os.walk(top):
                with contextlib.suppress(FileNotFoundError):
                    text = (Path(directory) / "cgroup.procs").read_text()
                    found |= {int(pid) for pid in text.split()}
        return sorted(found)

    def kill(self) -> None:
        """Send SIGKILL to every process; one that forks meanwhile cannot get away.

        v2 has cgroup.kill (Linux 5.14). v1 freezes first: a frozen process does not fork, and
        takes the signal as soon as it is thawed.
        """
        if self.version == 2:
            with contextlib.suppress(FileNotFoundError):
                (self._directories[""] / "cgroup.kill").write_text("1")
            return
        self._freezer("FROZEN")
        try:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            self._freezer("THAWED")

    def _freezer(self, state: str) -> None:
        directory = self._directory("freezer")
        if directory is not None:
            with contextlib.suppress(FileNotFoundError):
                (directory / "freezer.state").write_text(state)

    def oom_kills(self) -> int:
        """How many processes the kernel has killed because the group's memory was used up."""
        directory = self._directory("memory")
        if directory is None:
            return 0
        file = directory / ("memory.events" if self.version == 2 else "memory.oom_control")
        with contextlib.suppress(OSError):
            fields = dict(line.split() for line in file.read_text().splitlines())
            return int(fields.get("oom_kill", 0))
        return 0

    async def remove(self) -> None:
        """Remove the group with those below it, killing what is still in it.

        Raises DriverError naming the processes that do not go.
        """
        with trio.move_on_after(REMOVE_S):
            delay_s = 0.001
            while not self._try_remove():
                self.kill()
                # hardly ever: all processes end with the first one's pid namespace. v1 has no
                # descriptor that tells of the last; v2's needs POLLPRI, which trio does not have
                await trio.sleep(delay_s)
                delay_s = min(delay_s * 2, 0.1)
            return
        raise DriverError(f"control group {self.path}: processes {self.pids()} do not end")

    def _try_remove(self) -> bool:
        for top in self._directories.values():
            for directory, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    pass
                except OSError:
                    return False
        return True


def _settings(version: Literal[1, 2], limits: Limits) -> list[tuple[str, str, str, str]]:
    """What to write for limits: controller, file, value, and the limit's name for errors."""
    writes: list[tuple[str, str, str, str]] = []
    if limits.memory_bytes is not None:
        file = "memory.max" if version == 2 else "memory.limit_in_bytes"
        writes.append(("memory", file, str(limits.memory_bytes), "memory"))
        writes += _swap_settings(version, limits.memory_bytes, limits.memory_swap_bytes)
    if limits.nano_cpus is not None:
        quota = str(limits.nano_cpus * CPU_PERIOD_USEC // 1_000_000_000)
        if version == 2:
            writes.append(("cpu", "cpu.max", f"{quota} {CPU_PERIOD_USEC}", "cpu time"))
        else:
            writes.append(("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_USEC), "cpu time"))
            writes.append(("cpu", "cpu.cfs_quota_us", quota, "cpu time"))
    if limits.pids is not None and limits.pids > 0:
        writes.append(("pids", "pids.max", str(limits.pids), "the number of processes"))
    return writes


def _swap_settings(
    version: Literal[1, 2], memory_bytes: int, total_bytes: int | None
) -> list[tuple[str, str, str, str]]:
    """Swap: v1 limits memory and swap together, v2 swap alone."""
    if total_bytes is None:
        return []
    if version == 1:
        return [("memory", "memory.memsw.limit_in_bytes", str(total_bytes), "swap")]
    value = "max" if total_bytes < 0 else str(total_bytes - memory_bytes)
    return [("memory", "memory.swap.max", value, "swap")]


def _swap_exists() -> bool:
    """Whether this host has any swap. Source: proc_swaps(5): one line of heading, then devices."""
    return len(Path("/proc/swaps").read_text().splitlines()) > 1


def leftovers(hierarchy: Hierarchy, parent: str) -> list[str]:
    """The names of all groups below `parent`."""
    found: set[str] = set()
    for directory in hierarchy.directories(parent).values():
        with contextlib.suppress(FileNotFoundError):
            found |= {entry.name for entry in os.scandir(directory) if entry.is_dir()}
    return sorted(found)


def remove_parent(hierarchy: Hierarchy, parent: str) -> None:
    """Remove the group that holds the containers' groups, if it is empty."""
    for directory in hierarchy.directories(parent).values():
        with contextlib.suppress(OSError):  # in use by another daemon, or never made
            os.rmdir(directory)
