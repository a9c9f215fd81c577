"""Containers made by Creche itself: namespaces, control groups and mount descriptors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
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
from drivers.keeper.client import Keeper
from drivers.keeper.spawning import Spawned, Spawning
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
                    start, spawned = await self._start(key, describe, pipes, held, opened)
                command, group = start.command, start.group
                self._live[key] = Live(command, group, spawned)
                held.callback(self._let_go, key, spawned)
                if may_look(command) and start.joined_pid is None:
                    with contextlib.suppress(NotRunning):  # it has ended, and all beside it
                        namespace = pid_namespace_of(spawned.pidfd)
                        await held.enter_async_context(self._watchers.watching(key, namespace))
                async with looked_after(self._keeper, key, spawned, group.kill):
                    master = None if start.terminal is None else start.terminal.master
                    task_status.started(as_started(spawned, master))
                    end = await self._keeper.wait(key)
                return exit_status(end, oom_killed=group.oom_kills() > 0)

    async def _start(
        self,
        key: str,
        describe: Describe,
        pipes: Pipes,
        held: AsyncExitStack,
        opened: ExitStack,
    ) -> tuple[Start, Spawned]:
        """Execute the command; `held` lasts as long as the container, `opened` until here."""
        async with self._keeper.spawning(key) as spawning:
            try:
                start = await in_thread(
                    prepare, describe, pipes, self._hierarchy, self._parent, opened, spawning.ask
                )
            except BaseException:  # its group may be there: half made, or since an earlier life
                await ControlGroup(self._hierarchy, self._parent, key).remove()
                raise
            held.push_async_callback(start.group.remove)
            if start.joined_pid is None:
                return start, await _made(start, spawning)
            async with self._unseen(start, start.joined_pid, held):
                spawning.ask(start.plan, start.words, start.fds)
                return start, await _made(start, spawning)

    def _let_go(self, key: str, spawned: Spawned) -> None:
        """The first process has been reaped: nobody may signal it any more."""
        self._live[key] = None
        os.close(spawned.pidfd)

    @contextlib.asynccontextmanager
    async def _unseen(self, start: Start, pid_fd: int, held: AsyncExitStack) -> AsyncIterator[None]:
        """A block in which nobody in the pid namespace that it joins looks.

        `held` knows of it for as long as it may look itself.
        """
        key, namespace = start.command.key, pid_namespace_of(pid_fd)
        if may_look(start.command):
            await held.enter_async_context(self._watchers.watching(key, namespace))
        self._watchers.check_unseen(key, namespace)
        with self._watchers.making(namespace):
            yield

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


async def _made(start: Start, spawning: Spawning) -> Spawned:
    """The process, or what its failure means."""
    try:
        return await spawning.made()
    except SpawnFailed as error:
        limit = explain_limit(error)
        if limit is not None:
            raise LimitUnavailable(limit) from error
        reason = explain_ids(error) if start.command.id_map else None
        if reason is not None:
            raise reason from error
        raise


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
