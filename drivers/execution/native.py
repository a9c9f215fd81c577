"""Containers made by Creche itself: namespaces, control groups and mount descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import trio

from drivers.errors import (
    AlreadyExists,
    InvalidRequest,
    KeeperLost,
    LimitUnavailable,
    NotRunning,
    SpawnFailed,
)
from drivers.execution import cgroup
from drivers.execution.base import Command, ExitStatus, Info, Limits, Pipes, Started
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.user import look_up
from drivers.keeper.client import Exit, Keeper, Spawned
from drivers.keeper.protocol import MAX_FDS, Plan
from drivers.kernel.capabilities import NUMBER_OF

RELEASE_S = 20.0

_RLIMITS: dict[str, int] = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}


@dataclass(slots=True)
class _Live:
    """What is known of a container between its start and its end."""

    group: ControlGroup
    spawned: Spawned


class NativeExecution:
    """Forks from the keeper. About 2 ms a start; needs root, and Linux 5.14."""

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
        self._live[key] = None
        try:
            async with AsyncExitStack() as held:
                group = ControlGroup(self._hierarchy, self._parent, key, command.limits)
                held.push_async_callback(_shielded, group)
                group.create()
                spawned = await self._spawn(command, pipes, group)
                held.callback(os.close, spawned.pidfd)
                self._live[key] = _Live(group, spawned)
                return await self._see_through(key, group, spawned, task_status)
        finally:
            del self._live[key]

    async def _see_through(
        self,
        key: str,
        group: ControlGroup,
        spawned: Spawned,
        task_status: trio.TaskStatus[Started],
    ) -> ExitStatus:
        """From the start to the end; a cancelled one is killed, and still reaped."""
        try:
            ticks = _start_time_ticks(spawned.pid)
            task_status.started(Started(pid=spawned.pid, start_time_ticks=ticks))
            end = await self._keeper.wait(key)
        except trio.Cancelled:
            with trio.move_on_after(RELEASE_S, shield=True):
                _kill(spawned.pidfd)
                await self._keeper.wait(key)
            raise
        if end.status is None:
            _kill(spawned.pidfd)
            raise KeeperLost(f"container {key}: the keeper process ended before it did")
        return _exit_status(end, oom_killed=group.oom_kills() > 0)

    async def _spawn(self, command: Command, pipes: Pipes, group: ControlGroup) -> Spawned:
        plan = _plan(command, pipes, group)
        netns = [] if command.netns_fd is None else [command.netns_fd]
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
                if error.step.startswith(("set rlimit", "set oom_score_adj")):
                    raise LimitUnavailable(_explain(error)) from error
                raise

    async def kill(self, key: str, signum: signal.Signals | int) -> None:
        self._of(key)
        await self._keeper.signal(key, signum)

    async def terminate(self, key: str) -> None:
        live = self._of(key)
        _kill(live.spawned.pidfd)
        live.group.kill()

    async def pids(self, key: str) -> list[int]:
        return self._of(key).group.pids()

    async def info(self, key: str) -> Info:
        live = self._of(key)
        ticks = _start_time_ticks(live.spawned.pid)
        return Info(pid=live.spawned.pid, start_time_ticks=ticks, cgroup=live.group.path)

    async def clean(self, key: str) -> None:
        group = ControlGroup(self._hierarchy, self._parent, key, Limits(nano_cpus=1))
        await group.remove()

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


async def _shielded(group: ControlGroup) -> None:
    with trio.CancelScope(shield=True):  # bounded by itself
        await group.remove()


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _start_time_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat, or 0 if the process is gone. Source: proc_pid_stat(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.rpartition(")")[2].split()[19])


def _exit_status(end: Exit, *, oom_killed: bool) -> ExitStatus:
    """The meaning of a wait(2) status."""
    assert end.status is not None
    code = os.waitstatus_to_exitcode(end.status)
    return ExitStatus(
        code=code if code >= 0 else 128 - code,
        signal=-code if code < 0 else None,
        oom_killed=oom_killed,
        cpu_usec=end.cpu_usec,
        max_rss_bytes=end.max_rss_bytes,
    )


def _plan(command: Command, pipes: Pipes, group: ControlGroup) -> Plan:
    """What the child is to do. Raises InvalidRequest for what no container can be."""
    identity = look_up(command.root_fd, command.user, command.group_add)
    for mount in command.mounts:
        if not mount.target.startswith("/") or mount.target.strip("/") == "":
            raise InvalidRequest(f"invalid mount target {mount.target!r}: not below /")
    env = list(command.env)
    if not any(item.startswith("HOME=") for item in env):
        env.append(f"HOME={identity.home}")
    for text in (*command.argv, *env, command.cwd):
        if "\0" in text:
            raise InvalidRequest(f"a NUL byte in {text!r}")
    return Plan(
        argv=list(command.argv),
        env=env,
        cwd=command.cwd or "/",
        uid=identity.uid,
        gid=identity.gid,
        groups=list(identity.groups),
        hostname=command.hostname,
        domainname=command.domainname,
        mount_targets=[mount.target for mount in command.mounts],
        read_only=command.read_only,
        host_network=command.host_network,
        joins_network=command.netns_fd is not None,
        shm_size_bytes=command.shm_size_bytes,
        capabilities=sorted(NUMBER_OF[name] for name in command.capabilities),
        no_new_privs=command.no_new_privs,
        masked_paths=list(command.masked_paths),
        readonly_paths=list(command.readonly_paths),
        rlimits=[(_rlimit(limit.name), limit.soft, limit.hard) for limit in command.rlimits],
        oom_score_adj=command.oom_score_adj,
        cgroup_version=group.version,
        cgroup_controllers=group.controllers,
        kept_pipes=len(pipes.kept),
    )


def _rlimit(name: str) -> int:
    if name not in _RLIMITS:
        raise InvalidRequest(f"invalid ulimit type: {name}")
    return _RLIMITS[name]


def _explain(error: SpawnFailed) -> str:
    """Which limit it was, by name, and what it would take."""
    step = error.step
    if step.startswith("set rlimit "):
        number = int(step.rpartition(" ")[2])
        step = "set rlimit " + next(n for n, known in _RLIMITS.items() if known == number)
    return f"{step}: {os.strerror(error.errno).lower()} (raising it needs CAP_SYS_RESOURCE)"


def open_driver(keeper: Keeper, cgroup_parent: str) -> NativeExecution:
    """The driver for this host's control groups, containers living below `cgroup_parent`."""
    return NativeExecution(keeper, cgroup.detect(), cgroup_parent)
