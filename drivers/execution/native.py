"""Containers made by Creche itself: namespaces, control groups and mount descriptors."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import trio

from drivers.errors import (
    AlreadyExists,
    DriverError,
    InvalidRequest,
    LimitUnavailable,
    NotRunning,
    SpawnFailed,
)
from drivers.execution import cgroup
from drivers.execution.base import Command, ExitStatus, Info, Pipes, Started
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.plan import explain_limit, make_plan
from drivers.keeper.client import Exit, Keeper, Spawned
from drivers.keeper.protocol import MAX_FDS

RELEASE_S = 20.0


@dataclass(slots=True)
class _Live:
    """What is known of a container between its start and its end."""

    group: ControlGroup
    spawned: Spawned

    def kill(self) -> None:
        """Send SIGKILL to every process, first of all the one that takes the others along."""
        with contextlib.suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self.spawned.pidfd, signal.SIGKILL)
        self.group.kill()


class NativeExecution:
    """Forks from the keeper. A start costs about three times the kernel's own work for it.

    Needs root, and Linux 5.14.
    """

    name = "native"

    def __init__(self, keeper: Keeper, hierarchy: Hierarchy, cgroup_parent: str) -> None:
        self._keeper = keeper
        self._hierarchy = hierarchy
        self._parent = cgroup_parent
        self._live: dict[str, _Live | None] = {}  # None while it is being started

    @property
    def cgroup_version(self) -> int:
        """Which version of control groups its containers are in."""
        return self._hierarchy.version

    async def run(
        self,
        command: Command,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        key = command.key
        if key in self._live:
            raise AlreadyExists(f"container {key} is running")
        if not key or "/" in key or key.startswith("."):
            raise InvalidRequest(f"invalid key {key!r}: it names a control group")
        self._live[key] = None
        try:
            async with AsyncExitStack() as held:
                group = ControlGroup(self._hierarchy, self._parent, key, command.limits)
                held.push_async_callback(_remove, group)
                group.create()
                spawned = await self._spawn(command, pipes, group)
                held.callback(os.close, spawned.pidfd)
                live = self._live[key] = _Live(group, spawned)
                end = await self._see_through(key, live, task_status)
                return _exit_status(end, oom_killed=group.oom_kills() > 0)
        finally:
            del self._live[key]

    async def _spawn(self, command: Command, pipes: Pipes, group: ControlGroup) -> Spawned:
        """Execute the command in its group."""
        plan = await trio.to_thread.run_sync(make_plan, command, pipes, group)
        network = command.namespaces.network
        netns = [network] if isinstance(network, int) else []
        with ExitStack() as opened:
            joined = group.open_to_join()
            for fd in joined:
                opened.callback(os.close, fd)
            fds = [pipes.stdin, pipes.stdout, pipes.stderr, command.root_fd, *netns]
            fds += [mount.fd for mount in command.mounts]
            fds += [*joined, *pipes.kept]
            if len(fds) > MAX_FDS:
                raise InvalidRequest(f"too many mounts: {len(command.mounts)}")
            try:
                return await self._keeper.spawn(command.key, plan, fds)
            except SpawnFailed as error:
                limit = explain_limit(error)
                if limit is not None:
                    raise LimitUnavailable(limit) from error
                raise

    async def _see_through(
        self,
        key: str,
        live: _Live,
        task_status: trio.TaskStatus[Started],
    ) -> Exit:
        """From the start to the end; one that is not wanted any more is killed, and reaped."""
        try:
            pid, ticks = live.spawned.pid, live.spawned.start_time_ticks
            task_status.started(Started(pid=pid, start_time_ticks=ticks))
            return await self._keeper.wait(key)
        except BaseException:  # cancelled, or the keeper is lost
            with trio.move_on_after(RELEASE_S, shield=True):
                live.kill()
                await trio.lowlevel.wait_readable(live.spawned.pidfd)
                with contextlib.suppress(DriverError):
                    await self._keeper.wait(key)
            raise

    async def kill(self, key: str, signum: signal.Signals | int) -> None:
        pidfd = self._of(key).spawned.pidfd
        try:
            signal.pidfd_send_signal(pidfd, signum)
        except ProcessLookupError as error:
            raise NotRunning(f"container {key} is not running") from error
        except OSError as error:
            raise InvalidRequest(f"invalid signal: {signum}") from error

    async def terminate(self, key: str) -> None:
        self._of(key).kill()

    async def pids(self, key: str) -> list[int]:
        return self._of(key).group.pids()

    async def info(self, key: str) -> Info:
        live = self._of(key)
        return Info(
            pid=live.spawned.pid,
            start_time_ticks=live.spawned.start_time_ticks,
            cgroup=live.group.path,
        )

    async def clean(self, key: str) -> None:
        if key not in self._live:
            await ControlGroup(self._hierarchy, self._parent, key).remove()

    async def leftovers(self) -> list[str]:
        there = await trio.to_thread.run_sync(cgroup.leftovers, self._hierarchy, self._parent)
        return [key for key in there if key not in self._live]

    async def close(self) -> None:
        """Remove what the driver made for all containers together."""
        cgroup.remove_parent(self._hierarchy, self._parent)

    def _of(self, key: str) -> _Live:
        live = self._live.get(key)
        if live is None:
            raise NotRunning(f"container {key} is not running")
        return live


async def _remove(group: ControlGroup) -> None:
    with trio.CancelScope(shield=True):  # bounded by itself
        await group.remove()


def _exit_status(end: Exit, *, oom_killed: bool) -> ExitStatus:
    """The meaning of a wait(2) status."""
    code = os.waitstatus_to_exitcode(end.status)
    return ExitStatus(
        code=code if code >= 0 else 128 - code,
        signal=-code if code < 0 else None,
        oom_killed=oom_killed,
        cpu_usec=end.cpu_usec,
        max_rss_bytes=end.max_rss_bytes,
    )


def open_driver(
    keeper: Keeper,
    cgroup_parent: str,
    directory: Path | None = None,
    options: Mapping[str, str] | None = None,
) -> NativeExecution:
    """The driver for this host's control groups, containers living below `cgroup_parent`.

    It has no files, and no options: raises InvalidRequest naming one that is given.
    """
    for name in options or ():
        raise InvalidRequest(f"unknown exec-opt {name!r}: native has none")
    return NativeExecution(keeper, cgroup.detect(), cgroup_parent)
