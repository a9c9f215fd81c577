"""What a driver does with containers that live, by their first process and control group."""

from __future__ import annotations

import contextlib
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from drivers.errors import AlreadyExists, DriverError, InvalidRequest, NotRunning
from drivers.execution import cgroup
from drivers.execution.base import Command, Info, Started
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.checks import check_key
from drivers.execution.network_usage import network_usage
from drivers.execution.resources import Limits, Usage
from drivers.keeper.spawning import Spawned


@dataclass(slots=True)
class Live:
    """What is known of a container between its start and its end."""

    command: Command  # its descriptors are closed
    group: ControlGroup
    spawned: Spawned
    is_paused: bool = False


class LiveContainers:
    """The part of an execution driver that is the same however a container was made.

    The control groups are below `cgroup_parent` in `hierarchy`.
    """

    def __init__(self, hierarchy: Hierarchy, cgroup_parent: str) -> None:
        self._hierarchy = hierarchy
        self._parent = cgroup_parent
        self._live: dict[str, Live | None] = {}  # None before its start and after its end

    @contextlib.contextmanager
    def _running(self, key: str) -> Iterator[None]:
        """The key is taken during the block. Raises AlreadyExists, InvalidRequest."""
        if key in self._live:
            raise AlreadyExists(f"container {key} is running")
        check_key(key)
        self._live[key] = None
        try:
            yield
        finally:
            del self._live[key]

    def _of(self, key: str) -> Live:
        live = self._live.get(key)
        if live is None:
            raise NotRunning(f"container {key} is not running")
        return live

    @contextlib.contextmanager
    def _alive(self, live: Live) -> Iterator[None]:
        """A failure in the block is NotRunning if the container has ended meanwhile."""
        try:
            yield
        except DriverError as error:
            key = live.command.key
            if self._live.get(key) is not live or has_ended(live.spawned.pidfd):
                raise NotRunning(f"container {key} is not running") from error
            raise

    async def kill(self, key: str, signum: signal.Signals | int) -> None:
        pidfd = self._of(key).spawned.pidfd
        try:
            signal.pidfd_send_signal(pidfd, signum)
        except ProcessLookupError as error:
            raise NotRunning(f"container {key} is not running") from error
        except OSError as error:
            raise InvalidRequest(f"invalid signal: {signum}") from error

    async def pause(self, key: str) -> None:
        live = self._of(key)
        with self._alive(live):
            await live.group.freeze()
        live.is_paused = True

    async def unpause(self, key: str) -> None:
        live = self._of(key)
        live.group.thaw()
        live.is_paused = False

    async def terminate(self, key: str) -> None:
        live = self._of(key)
        kill_process(live.spawned.pidfd)  # it takes the others along
        live.group.kill()

    async def pids(self, key: str) -> list[int]:
        return self._of(key).group.pids()

    async def info(self, key: str) -> Info:
        live = self._of(key)
        spawned = live.spawned
        return Info(
            pid=spawned.pid, start_time_ticks=spawned.start_time_ticks, cgroup=live.group.path
        )

    async def stats(self, key: str) -> Usage:
        live = self._of(key)
        is_own = live.command.namespaces.network != "host"
        networks = network_usage(live.spawned.pid, live.spawned.pidfd) if is_own else ()
        return replace(live.group.usage(), networks=networks)

    async def update(self, key: str, limits: Limits) -> None:
        self._of(key).group.update(limits)

    async def watch_oom(self, key: str, tell: Callable[[], None]) -> None:
        await self._of(key).group.watch_oom(tell)

    async def close(self) -> None:
        """Remove what the driver made for all containers together."""
        cgroup.remove_parent(self._hierarchy, self._parent)


def kill_process(pidfd: int) -> None:
    """Send SIGKILL, if it has not ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended; a pidfd is readable then. Source: pidfd_open(2)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def as_started(spawned: Spawned, terminal_fd: int | None) -> Started:
    """What a driver tells of a process that has executed its command."""
    return Started(
        pid=spawned.pid, start_time_ticks=spawned.start_time_ticks, terminal_fd=terminal_fd
    )
