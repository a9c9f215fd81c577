"""Control groups: one for each container, made, joined, stopped, killed and removed.

Sources: the kernel's cgroup-v1/*.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace

import trio

from drivers.errors import DriverError, LimitUnavailable, from_os_error
from drivers.execution import cgroup_apply, devices, freezer
from drivers.execution.cgroup_directories import Directories
from drivers.execution.cgroup_files import fields, write
from drivers.execution.cgroup_limits import changes
from drivers.execution.cgroup_stats import host_memory_bytes, usage_v1, usage_v2
from drivers.execution.cgroup_watch import until, watch_oom_v1, watch_oom_v2
from drivers.execution.device_rules import allows_all, effective
from drivers.execution.hierarchy import Hierarchy, detect, leftovers, remove_parent
from drivers.execution.resources import DeviceRule, Limits, Usage
from drivers.execution.stuck import explain_stuck
from drivers.kernel.user_namespace import in_user_namespace

__all__ = ["ControlGroup", "Hierarchy", "detect", "leftovers", "remove_parent"]

REMOVE_S = 10.0
_FIRST_DELAY_S = 0.001
_LONGEST_DELAY_S = 0.1
_HELD_PIDFDS = 32  # at a time

# v1: each costs a directory made, joined and removed, so only what is of use to every container:
# to stop and find its processes, and to count what it uses. Limits that need more join more.
_V1_ALWAYS = ("memory", "freezer", "cpuacct", "blkio")


class ControlGroup:
    """The group of one container. Made by `create`; `open_to_join` leads a process into it."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        parent: str,
        key: str,
        limits: Limits | None = None,
        device_rules: Sequence[DeviceRule] = (),
        *,
        in_every_mount: bool = False,
    ) -> None:
        """`limits` decide which v1 controllers have the group; None means every one that may.

        `device_rules` come after the default ones. `in_every_mount`: whatever the limits need.
        """
        self._limits = limits or Limits()
        self._device_rules = effective(device_rules)
        needed = None if limits is None or in_every_mount else self._controllers()
        self._at = Directories(hierarchy, parent, key, needed)
        self.path = self._at.path
        self.version = hierarchy.version

    def _controllers(self) -> set[str]:
        """v1: those that the container needs."""
        asked = {limit.controller for limit in changes(1, Limits(), self._limits)}
        restricted = () if allows_all(self._device_rules) else ("devices",)
        return {*_V1_ALWAYS, *restricted, *asked}

    @property
    def hierarchies(self) -> list[str]:
        """v1: the mounts whose group a process must join one by one, as `open_to_join` opens."""
        return list(self._at.by_mount) if self.version == 1 else []

    # -- there or not there

    def create(self) -> None:
        """Make the group and set its limits. Raises LimitUnavailable naming what cannot be set."""
        try:
            self._at.make()
            self._restrict_devices()
        except OSError as error:
            raise from_os_error(error, f"make control group {self.path}") from error
        cgroup_apply.apply(self._at, changes(self.version, Limits(), self._limits))

    def _restrict_devices(self) -> None:
        if allows_all(self._device_rules):
            return
        directory = self._at.of("devices")
        if directory is None:
            if in_user_namespace():
                return  # it has no device that the host's modes do not let it have
            raise LimitUnavailable(
                "devices cannot be restricted here: the controller devices is not mounted"
            )
        if self.version == 2:
            devices.restrict_v2(directory, self._device_rules)
        else:
            devices.restrict_v1(directory, self._device_rules)

    def open_to_join(self, hierarchies: Sequence[str]) -> list[int]:
        """v1: `tasks` of each of those `hierarchies`; v2: the directory, for clone3.

        A process with one thread joins by `tasks` in 0.1 ms. By `cgroup.procs` it would wait for
        an RCU grace period, some 10 ms, because the kernel stops all forks meanwhile.
        """
        if self.version == 2:
            return [os.open(self._at.by_mount[""], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        opened: list[int] = []
        try:
            for name in hierarchies:
                place = f"{self._at.by_mount[name]}/tasks"
                opened.append(os.open(place, os.O_WRONLY | os.O_CLOEXEC))
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        return opened

    async def remove(self) -> None:
        """Remove the group with those below it, killing what is still in it.

        Raises DriverError naming the processes that do not go. Cancelling does not end it before
        they have had their time.
        """
        if self._at.remove():  # nearly always: all processes end with the first one's pid namespace
            return
        with trio.move_on_after(REMOVE_S, shield=True):
            delay_s = _FIRST_DELAY_S
            while not self._at.remove():
                try:
                    self.kill()
                    await self._until_emptier(delay_s)
                except OSError:  # no descriptor is left, for a moment
                    await trio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            return
        pids = self.pids()
        raise DriverError(
            f"control group {self.path}: processes {pids} do not end{explain_stuck(pids)}"
        )

    async def _until_emptier(self, delay_s: float) -> None:
        if self.version == 2 and fields(self._at.read("", "cgroup.events")).get("populated"):
            await until(f"{self._at.by_mount['']}/cgroup.events", "populated", 0)
        else:
            await trio.sleep(delay_s)  # v1 has no descriptor that tells of the last process

    # -- its processes

    def pids(self) -> list[int]:
        """Every process in the group and in groups that it made below."""
        return sorted(self._at.pids())

    def kill(self) -> None:
        """Send SIGKILL to every process; one that forks meanwhile cannot get away.

        v2 has cgroup.kill (Linux 5.14), which reaches frozen ones too. v1 freezes first: a frozen
        process does not fork, and takes the signal as soon as it is thawed.
        """
        if self.version == 2:
            with contextlib.suppress(FileNotFoundError):
                write(f"{self._at.by_mount['']}/cgroup.kill", "1")
            return
        directory = self._at.of("freezer")
        if directory is not None:
            freezer.begin_to_freeze(directory)
        try:
            killed: set[int] = set()
            while new := self._at.pids() - killed:  # forked before their parent was frozen
                pids = sorted(new)
                for at in range(0, len(pids), _HELD_PIDFDS):
                    self._kill_members(pids[at : at + _HELD_PIDFDS])
                killed |= new
        finally:
            if directory is not None:
                freezer.thaw_below(directory)

    def _kill_members(self, pids: Sequence[int]) -> None:
        """Kill those that still are in the group: a number may have become somebody else's."""
        with contextlib.ExitStack() as opened:
            held: dict[int, int] = {}
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    held[pid] = os.pidfd_open(pid)
                    opened.callback(os.close, held[pid])
            for pid in held.keys() & self._at.pids():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(held[pid], signal.SIGKILL)

    async def freeze(self) -> None:
        """Stop every process where it is. Raises DriverError if some do not, and all go on."""
        directory = self._at.of("freezer")
        if directory is None:
            raise DriverError(
                f"control group {self.path} cannot be paused: the controller freezer is not mounted"
            )
        try:
            frozen = await freezer.freeze(self.version, directory)
        except OSError as error:
            raise from_os_error(error, f"freeze control group {self.path}") from error
        if not frozen:
            pids = self.pids()
            if self.version == 1:
                self.thaw()  # what it has stopped is in the state D as well
            why = explain_stuck(pids)
            self.thaw()  # on v2 not before: it wakes those that wait, for a moment
            raise DriverError(
                f"control group {self.path}: not all of the processes {pids} can be paused{why}"
            )

    def thaw(self) -> None:
        """Let every process go on."""
        directory = self._at.of("freezer")
        if directory is not None:
            freezer.thaw(self.version, directory)

    # -- what it may use, and uses

    def update(self, limits: Limits) -> None:
        """Replace the limits. Raises LimitUnavailable or DriverError; then the old ones hold."""
        cgroup_apply.replace(self._at, self._limits, limits)
        self._limits = limits

    def usage(self) -> Usage:
        """What the container has used and holds now; all but its network."""
        if self.version == 2:
            return usage_v2(self._at.read, host_memory_bytes())
        usage = usage_v1(self._at.read, host_memory_bytes())
        # the controller pids is joined for its limit only
        return usage if usage.pids else replace(usage, pids=self._at.count_tasks())

    def oom_kills(self) -> int:
        """How many processes the kernel has killed because the group's memory was used up.

        0 if it cannot be read: it is asked for at the end, whose exit code is not to be lost.
        """
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            return fields(self._at.read("memory", file)).get("oom_kill", 0)
        except OSError:
            return 0

    async def watch_oom(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever memory is used up, until the group is gone.

        Returns at once if nobody counts the memory. Raises DriverError if it cannot be watched.
        """
        directory = self._at.of("memory")
        if directory is None:
            return
        try:
            if self.version == 2:
                await watch_oom_v2(directory, tell)
            else:
                await watch_oom_v1(directory, tell)
        except FileNotFoundError:
            return  # no controller, or the group is gone
        except OSError as error:
            raise from_os_error(error, f"watch control group {self.path}") from error
