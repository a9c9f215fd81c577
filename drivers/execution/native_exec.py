"""One more process in a container of the native driver."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack

import trio

from drivers.errors import NotRunning
from drivers.execution.base import Pipes, Process, Started
from drivers.execution.ends import looked_after
from drivers.execution.id_map import give_streams
from drivers.execution.live import Live, as_started
from drivers.execution.plan import make_joining_plan
from drivers.execution.terminal import Terminal, terminal_below
from drivers.execution.watchers import Watchers, pid_namespace_of
from drivers.keeper.client import Exit, Keeper
from drivers.keeper.spawning import Spawned
from drivers.threads import in_thread

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_numbers = itertools.count(1)


async def run_in(
    live: Live,
    process: Process,
    pipes: Pipes,
    keeper: Keeper,
    watchers: Watchers,
    task_status: trio.TaskStatus[Started],
) -> Exit:
    """Run a process in a live container to its end; cancelled, it alone is killed."""
    key = f"{process.key}/{next(_numbers)}"
    namespace = pid_namespace_of(live.spawned.pidfd)
    async with AsyncExitStack() as held:
        if process.privileged and live.command.id_map is None:
            await held.enter_async_context(watchers.watching(key, namespace))
        with (
            _root_of(live) as root_fd,
            _terminal_of(process, root_fd) as terminal,
            watchers.making(namespace),
        ):
            ends = pipes if terminal is None else _ends_of(terminal)
            is_watched = watchers.are_in(namespace, but=key)
            spawned = await _spawn(key, live, process, root_fd, ends, keeper, is_watched)
        held.callback(os.close, spawned.pidfd)
        async with looked_after(keeper, key, spawned):
            task_status.started(as_started(spawned, None if terminal is None else terminal.master))
            return await keeper.wait(key)


def _ends_of(terminal: Terminal) -> Pipes:
    return Pipes(stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave)


@contextlib.contextmanager
def _root_of(live: Live) -> Iterator[int]:
    """The root directory as the container's first process sees it. Raises NotRunning."""
    try:
        root_fd = os.open(f"/proc/{live.spawned.pid}/root", _DIRECTORY)
    except OSError as error:
        raise NotRunning(f"container {live.command.key} is not running") from error
    try:
        # only now it is sure that the number was still this process's
        _check_alive(live)
        yield root_fd
    finally:
        os.close(root_fd)


def _check_alive(live: Live) -> None:
    try:
        signal.pidfd_send_signal(live.spawned.pidfd, 0)
    except ProcessLookupError as error:
        raise NotRunning(f"container {live.command.key} is not running") from error


def _terminal_of(
    process: Process, root_fd: int
) -> contextlib.AbstractContextManager[Terminal | None]:
    if process.terminal is None:
        return contextlib.nullcontext()
    return terminal_below(root_fd, process.terminal)


async def _spawn(
    key: str,
    live: Live,
    process: Process,
    root_fd: int,
    pipes: Pipes,
    keeper: Keeper,
    is_watched: bool,
) -> Spawned:
    with ExitStack() as opened:
        # of our own: the container may end while the thread is at work, and its number be another's
        pidfd = os.dup(live.spawned.pidfd)
        opened.callback(os.close, pidfd)
        async with keeper.spawning(key) as spawning:

            def ask() -> None:
                group = live.group
                plan, words = make_joining_plan(
                    process, live.command, root_fd, pipes, group, is_watched
                )
                stdio = [pipes.stdin, pipes.stdout, pipes.stderr]
                if live.command.id_map is not None:
                    give_streams(live.command.id_map, plan, stdio)
                groups = group.open_to_join(plan.cgroup_hierarchies)
                for fd in groups:
                    opened.callback(os.close, fd)
                spawning.ask(plan, words, [*stdio, pidfd, *groups])

            await in_thread(ask)
            return await spawning.made()
