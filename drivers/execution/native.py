"""Containers made by Creche itself: namespaces, control groups and mount descriptors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path

import trio

from drivers.errors import (
    Conflict,
    InvalidRequest,
    LimitUnavailable,
    NotRunning,
    SpawnFailed,
)
from drivers.execution import cgroup
from drivers.execution.base import Command, ExitStatus, IdMap, Pipes, Process, Started
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.checks import check_can_end
from drivers.execution.ends import exit_status, looked_after
from drivers.execution.id_map import give_streams, root_of, to_host
from drivers.execution.live import Live, LiveContainers, as_started
from drivers.execution.mapped_dev import lend_devices, make_mapped_dev
from drivers.execution.native_exec import run_in
from drivers.execution.plan import explain_ids, explain_limit, joined_namespaces, make_plan
from drivers.execution.terminal import TTY_GID, Terminal, new_terminal
from drivers.execution.watchers import Watchers, may_look, pid_namespace_of
from drivers.keeper.client import Keeper, Spawned
from drivers.keeper.plan import ContainerPlan, Words
from drivers.keeper.protocol import MAX_FDS
from drivers.kernel.user_namespace import in_user_namespace


class NativeExecution(LiveContainers):
    """Made by the keeper. A start costs about twice the kernel's own work for it.

    Needs root, and Linux 5.14.
    """

    name = "native"

    def __init__(self, keeper: Keeper, hierarchy: Hierarchy, cgroup_parent: str) -> None:
        super().__init__(hierarchy, cgroup_parent)
        self._keeper = keeper
        self._watchers = Watchers()

    async def run(
        self,
        command: Command,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        key = command.key
        with self._running(key):
            async with AsyncExitStack() as held:
                group = ControlGroup(
                    self._hierarchy, self._parent, key, command.limits, command.device_rules
                )
                held.push_async_callback(_remove, group)
                with _terminal_of(command) as terminal:
                    spawned = await self._spawn_unseen(command, pipes, group, terminal, held)
                self._live[key] = Live(command, group, spawned)
                held.callback(self._let_go, key, spawned)
                if may_look(command) and not isinstance(command.namespaces.pid, int):
                    with contextlib.suppress(NotRunning):  # it has ended, and all beside it
                        namespace = pid_namespace_of(spawned.pidfd)
                        await held.enter_async_context(self._watchers.watching(key, namespace))
                async with looked_after(self._keeper, key, spawned, group.kill):
                    master = None if terminal is None else terminal.master
                    task_status.started(as_started(spawned, master))
                    end = await self._keeper.wait(key)
                return exit_status(end, oom_killed=group.oom_kills() > 0)

    def _let_go(self, key: str, spawned: Spawned) -> None:
        """The first process has been reaped: nobody may signal it any more."""
        self._live[key] = None
        os.close(spawned.pidfd)

    async def _spawn_unseen(
        self,
        command: Command,
        pipes: Pipes,
        group: ControlGroup,
        terminal: Terminal | None,
        held: AsyncExitStack,
    ) -> Spawned:
        """As `_spawn`, where nobody looks; `held` knows of it for as long as it may look itself."""
        key, joined = command.key, command.namespaces.pid
        if not isinstance(joined, int):
            return await self._spawn(command, pipes, group, terminal)
        namespace = pid_namespace_of(joined)
        if may_look(command):
            await held.enter_async_context(self._watchers.watching(key, namespace))
        self._watchers.check_unseen(key, namespace)
        with self._watchers.making(namespace):
            return await self._spawn(command, pipes, group, terminal)

    async def _spawn(
        self, command: Command, pipes: Pipes, group: ControlGroup, terminal: Terminal | None
    ) -> Spawned:
        """Make its group, and execute the command in it."""
        check_can_end(command, has_groups=bool(self._hierarchy.mounts))
        with ExitStack() as opened:
            prepare = partial(_prepare, command, pipes, group, terminal, opened)
            plan, words, fds = await trio.to_thread.run_sync(prepare)
            try:
                return await self._keeper.spawn(command.key, plan, words, fds)
            except SpawnFailed as error:
                limit = explain_limit(error)
                if limit is not None:
                    raise LimitUnavailable(limit) from error
                reason = explain_ids(error) if command.id_map else None
                if reason is not None:
                    raise reason from error
                raise

    async def exec(
        self,
        process: Process,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        live = self._of(process.key)
        if live.is_paused:
            raise Conflict(f"container {process.key} is paused: unpause it first")
        end = await run_in(live, process, pipes, self._keeper, self._watchers, task_status)
        return exit_status(end)

    async def clean(self, key: str) -> None:
        if key not in self._live:
            await ControlGroup(self._hierarchy, self._parent, key).remove()

    async def leftovers(self) -> list[str]:
        there = await trio.to_thread.run_sync(cgroup.leftovers, self._hierarchy, self._parent)
        return [key for key in there if key not in self._live]


def _terminal_of(command: Command) -> contextlib.AbstractContextManager[Terminal | None]:
    if command.terminal is None:
        return contextlib.nullcontext()
    return new_terminal(command.terminal, gid=_terminal_gid(command.id_map))


def _terminal_gid(id_map: IdMap | None) -> int:
    if id_map is None:
        return TTY_GID
    gid = to_host(id_map.gids, TTY_GID)
    return root_of(id_map)[1] if gid is None else gid


def _prepare(
    command: Command,
    pipes: Pipes,
    group: ControlGroup,
    terminal: Terminal | None,
    opened: ExitStack,
) -> tuple[ContainerPlan, Words, list[int]]:
    """The control group, and what the keeper is to do with which descriptors. Blocks.

    All in one: what changes thread waits for it longer than most of this takes.
    """
    group.create()
    if in_user_namespace():
        command = lend_devices(command, opened)
    plan, words = make_plan(command, pipes, group)
    fds = [pipes.stdin, pipes.stdout, pipes.stderr, command.root_fd]
    kept = pipes.kept
    if terminal is not None:
        fds[:3], kept = [terminal.slave] * 3, (terminal.master,)
    if command.id_map is not None:
        give_streams(command.id_map, plan, fds[:3])
    fds += [fd for _, fd in joined_namespaces(command.namespaces)]
    fds += [] if terminal is None else [terminal.devpts]
    fds += _make_devs(command, opened)
    fds += [mount.fd for mount in command.mounts]
    joined = group.open_to_join()
    for fd in joined:
        opened.callback(os.close, fd)
    fds += [*joined, *kept]
    if len(fds) > MAX_FDS:
        raise InvalidRequest(f"too many mounts: {len(command.mounts)}")
    return plan, words, fds


def _make_devs(command: Command, opened: ExitStack) -> list[int]:
    """The /dev that a container in a user namespace is given."""
    if command.id_map is None:
        return []
    fd = make_mapped_dev(command.id_map, command.devices)
    opened.callback(os.close, fd)
    return [fd]


async def _remove(group: ControlGroup) -> None:
    with trio.CancelScope(shield=True):  # bounded by itself
        await group.remove()


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
