"""One container: what it is, how it is doing, and its life from a start until it is at rest."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import trio

from drivers.errors import CrecheError, SpawnFailed, leaves
from drivers.execution.base import ExitStatus, Started
from supervisor import log, states
from supervisor.logs.container_logs import Broadcast, ContainerLogs
from supervisor.restart import count_failures, gave_up, next_delay_s, wants_restart
from supervisor.run import Drivers, run_once
from supervisor.spec import ContainerSpec
from supervisor.states import UP, Record, State
from supervisor.stdin import Stdin

OpenLogs = Callable[["Container"], AbstractAsyncContextManager[ContainerLogs]]
Requirements = Callable[["Container"], Awaitable[None]]

_rng = random.Random()


class Container:
    """The state of one container. Only its life task and the manager change it."""

    def __init__(
        self,
        spec: ContainerSpec,
        record: Record,
        *,
        directory: Path,
        announce: Callable[[Container, str, dict[str, str]], None],
        save: Callable[[ContainerSpec, Record], None],
    ) -> None:
        self.spec = spec
        self.record = record
        self.directory = directory  # private: logs, /etc/hostname and the like
        self.output = Broadcast()
        self.stdin = Stdin()
        self.starting = trio.Lock()  # one start or removal at a time
        self.start_failure: CrecheError | None = None  # why the newest start came to nothing
        self.exits = 0  # how often a process of it has ended under this daemon
        self.last_exit: ExitStatus | None = None
        self.ending = False  # asked to end: no restart follows
        self.end_state = State.STOPPED  # where it comes to rest when asked to end
        self.starts = 0  # how often its command has been executed under this daemon
        self.started_in_life = False  # whether it has since the last start by hand
        self.started_at = 0.0  # trio's time of the newest start
        self.logs: ContainerLogs | None = None  # while it is up
        self._interruptible = trio.CancelScope()
        self._announce = announce
        self._save = save
        self._changed = trio.Event()

    @property
    def id(self) -> str:
        """64 hex digits."""
        return self.spec.id

    @property
    def name(self) -> str:
        """Without Docker's leading slash."""
        return self.spec.name

    @property
    def is_up(self) -> bool:
        """Whether its life task is at work."""
        return self.record.state in UP

    def move(self, to: State, **changes: object) -> None:
        """Make a move of the table, store it, and wake whoever waits for one."""
        self.record = states.move(self.record, to, **changes)
        self.touch()

    def update(self, **changes: object) -> None:
        """Change fields of the record within a state."""
        self.record = msgspec.structs.replace(self.record, **changes)
        self.touch()

    def touch(self) -> None:
        """Store spec and record, and wake whoever waits."""
        self._save(self.spec, self.record)
        self._changed.set()
        self._changed = trio.Event()

    def announce(self, action: str, **attributes: str) -> None:
        """Publish an event about this container."""
        self._announce(self, action, attributes)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition on this container holds."""
        while not holds():
            await self._changed.wait()

    async def at_rest(self) -> None:
        """Wait until nothing of it runs and nothing will by itself."""
        await self.until(lambda: not self.is_up)

    def interruptible(self) -> trio.CancelScope:
        """A scope that `end` cancels while no process runs: for what a life waits for."""
        self._interruptible = trio.CancelScope()
        if self.ending:
            self._interruptible.cancel()
        return self._interruptible

    def end(self, state: State = State.STOPPED) -> None:
        """Let the life end in `state` after the present run; at once if nothing runs yet."""
        self.ending = True
        self.end_state = state
        if not self.record.pid:
            self._interruptible.cancel()

    def begin(self) -> None:
        """Enter a new life, as a start by hand does."""
        self.ending = False
        self.end_state = State.STOPPED
        self.started_in_life = False
        self.start_failure = None
        self.move(State.STARTING, error="", restart_count=0, failures=0, oom_killed=False)


async def live(
    container: Container,
    drivers: Drivers,
    requirements: Requirements,
    open_logs: OpenLogs,
) -> None:
    """Run the container, and again as its policy says, until it is at rest.

    `requirements` is awaited before each run: what the container requires must be ready. A
    DriverError or RequestError is never raised: it is in the record and in `start_failure`.
    """
    while True:
        outcome: ExitStatus | CrecheError | None = None
        with container.interruptible():
            outcome = await _attempt(container, drivers, requirements, open_logs)
        delay_s = _settle(container, outcome)
        if delay_s is None:
            return
        with container.interruptible():
            await trio.sleep(delay_s)
        if container.ending:
            container.move(container.end_state)
            return
        container.move(State.STARTING, restart_count=container.record.restart_count + 1)


async def _attempt(
    container: Container,
    drivers: Drivers,
    requirements: Requirements,
    open_logs: OpenLogs,
) -> ExitStatus | CrecheError:
    """One run; what went wrong is returned, since it is part of the container's life."""
    failures: list[CrecheError] = []
    try:
        await requirements(container)
        async with open_logs(container) as logs, trio.open_nursery() as nursery:
            container.logs = logs
            status = await run_once(
                container.spec,
                drivers,
                directory=container.directory,
                logs=logs,
                stdin=container.stdin,
                task_status=_OnStart(container, nursery),
            )
            nursery.cancel_scope.cancel()  # it will not become ready any more
        return status
    except* CrecheError as group:
        failures += leaves(group)
    finally:
        container.logs = None
    return failures[0]


class _OnStart(trio.TaskStatus[Started]):
    """What happens at the moment at which the command has been executed."""

    def __init__(self, container: Container, nursery: trio.Nursery) -> None:
        self._container = container
        self._nursery = nursery

    def started(self, value: Started | None = None) -> None:
        assert value is not None
        container = self._container
        container.starts += 1
        container.started_in_life = True
        container.started_at = trio.current_time()
        container.update(
            pid=value.pid,
            start_time_ticks=value.start_time_ticks,
            started_ns=time.time_ns(),
            exit_code=0,
            error="",
        )
        container.announce("start")
        after_s = container.spec.unit.ready_after_s if container.spec.unit else 0.0
        if after_s:
            self._nursery.start_soon(_become_ready, container, after_s)
        else:
            container.move(State.RUNNING)


async def _become_ready(container: Container, after_s: float) -> None:
    await trio.sleep(after_s)
    if container.record.state is State.STARTING:
        container.move(State.RUNNING)


def _settle(container: Container, outcome: ExitStatus | CrecheError | None) -> float | None:
    """Enter the state that follows a run; the seconds to the next one, or None if at rest.

    No outcome means that the run was interrupted before there was a process.
    """
    before, policy = container.record, container.spec.restart
    ended = _record_end(container, outcome)
    if container.ending:
        container.move(container.end_state, **ended)
        return None
    if isinstance(outcome, CrecheError) and not container.started_in_life:
        container.start_failure = outcome
        container.move(State.FATAL, **ended)
        return None
    code = outcome.code if isinstance(outcome, ExitStatus) else 1
    ran_s = trio.current_time() - container.started_at if before.pid else 0.0
    failures = count_failures(policy, earlier=before.failures, ran_s=ran_s)
    was_ready = before.state is State.RUNNING
    if wants_restart(policy, exit_code=code, was_ready=was_ready, failures=failures):
        container.move(State.BACKOFF, failures=failures, **ended)
        return next_delay_s(policy, failures=failures, rng=_rng)
    gives_up = policy.name != "no" and gave_up(policy, failures=failures)
    container.move(State.EXITED if was_ready and not gives_up else State.FATAL, **ended)
    return None


def _record_end(
    container: Container, outcome: ExitStatus | CrecheError | None
) -> dict[str, object]:
    """Tell the world of the end of a run; the fields of the record that tell of it."""
    if isinstance(outcome, ExitStatus):
        container.exits += 1
        container.last_exit = outcome
        if outcome.oom_killed:
            container.announce("oom")
        container.announce("die", exitCode=str(outcome.code))
        return {
            "pid": 0,
            "exit_code": outcome.code,
            "oom_killed": outcome.oom_killed,
            "finished_ns": time.time_ns(),
        }
    if isinstance(outcome, CrecheError):
        log.warning("container.start_failed", name=container.name, error=outcome)
        code = outcome.exit_code if isinstance(outcome, SpawnFailed) else 128
        return {"pid": 0, "exit_code": code, "error": str(outcome)}
    return {"pid": 0}
