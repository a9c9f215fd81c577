"""Containers made by Creche itself: namespaces, control groups and mount descriptors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
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
from drivers.execution.base import Describe, ExitStatus, Pipes, Process, Started
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.ends import exit_status, looked_after
from drivers.execution.live import Live, LiveContainers, as_started
from drivers.execution.native_exec import run_in
from drivers.execution.native_start import Start, prepare
from drivers.execution.plan import explain_ids, explain_limit
from drivers.execution.watchers import Watchers, may_look, pid_namespace_of
from drivers.keeper.client import Keeper, Spawned
from drivers.threads import in_thread


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
        key: str,
        describe: Describe,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        with self._running(key):
            async with AsyncExitStack() as held:
                with ExitStack() as opened:
                    start = await self._prepare(key, describe, pipes, opened)
                    command, group = start.command, start.group
                    held.push_async_callback(_remove, group)
                    spawned = await self._spawn_unseen(start, held)
                self._live[key] = Live(command, group, spawned)
                held.callback(self._let_go, key, spawned)
                if may_look(command) and not isinstance(command.namespaces.pid, int):
                    with contextlib.suppress(NotRunning):  # it has ended, and all beside it
                        namespace = pid_namespace_of(spawned.pidfd)
                        await held.enter_async_context(self._watchers.watching(key, namespace))
                async with looked_after(self._keeper, key, spawned, group.kill):
                    master = None if start.terminal is None else start.terminal.master
                    task_status.started(as_started(spawned, master))
                    end = await self._keeper.wait(key)
                return exit_status(end, oom_killed=group.oom_kills() > 0)

    async def _prepare(
        self, key: str, describe: Describe, pipes: Pipes, opened: ExitStack
    ) -> Start:
        try:
            return await in_thread(prepare, describe, pipes, self._hierarchy, self._parent, opened)
        except BaseException:  # its group may be there: half made, or since an earlier life
            await _remove(ControlGroup(self._hierarchy, self._parent, key))
            raise

    def _let_go(self, key: str, spawned: Spawned) -> None:
        """The first process has been reaped: nobody may signal it any more."""
        self._live[key] = None
        os.close(spawned.pidfd)

    async def _spawn_unseen(self, start: Start, held: AsyncExitStack) -> Spawned:
        """As `_spawn`, where nobody looks; `held` knows of it for as long as it may look itself."""
        key, joined = start.command.key, start.command.namespaces.pid
        if not isinstance(joined, int):
            return await self._spawn(start)
        namespace = pid_namespace_of(joined)
        if may_look(start.command):
            await held.enter_async_context(self._watchers.watching(key, namespace))
        self._watchers.check_unseen(key, namespace)
        with self._watchers.making(namespace):
            return await self._spawn(start)

    async def _spawn(self, start: Start) -> Spawned:
        """Execute the command."""
        try:
            return await self._keeper.spawn(start.command.key, start.plan, start.words, start.fds)
        except SpawnFailed as error:
            limit = explain_limit(error)
            if limit is not None:
                raise LimitUnavailable(limit) from error
            reason = explain_ids(error) if start.command.id_map else None
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
