"""The life of one container: started, run, started again as its policy says, ended."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import trio

from drivers.errors import (
    HOST_ERRORS,
    CrecheError,
    DriverError,
    InvalidRequest,
    NotRunning,
    SpawnFailed,
    reported,
)
from drivers.execution.base import ExecutionDriver, ExitStatus, Started
from supervisor import log
from supervisor.container import Container
from supervisor.joining import FindNeighbour
from supervisor.logs.container_logs import ContainerLogs
from supervisor.restart import count_failures, gave_up, next_delay_s, wants_restart
from supervisor.run import Drivers, run_once
from supervisor.spec import DEFAULT_STOP_GRACE_S
from supervisor.states import READY, UP, Record, State
from supervisor.stdin import Stdin

OpenLogs = Callable[[Container, Drivers, trio.Nursery], AbstractAsyncContextManager[ContainerLogs]]
Requirements = Callable[[Container], Awaitable[None]]

OOM_WATCH_AFTER_S = 0.05  # from a start; what was before is told then
KILL_S = 30.0  # a process that outlives SIGKILL by this long is stuck in the kernel
EXIT_CODE_UNKNOWN = 255  # the daemon was not there when the container ended

_rng = random.Random()


async def live(
    container: Container,
    drivers: Drivers,
    requirements: Requirements,
    open_logs: OpenLogs,
    neighbour: FindNeighbour,
) -> None:
    """Run the container, and again as its policy says, until it is at rest.

    `requirements` is awaited before each run: what the container requires must be ready.
    `neighbour` finds the containers whose namespaces it joins. A DriverError or RequestError is
    never raised: it is in the record and in `start_failure`.
    """
    while True:
        outcome: ExitStatus | CrecheError | None = None
        with container.interruptible():
            outcome = await _attempt(container, drivers, requirements, open_logs, neighbour)
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
    neighbour: FindNeighbour,
) -> ExitStatus | CrecheError:
    """One run; what went wrong is returned, since it is part of the container's life."""
    failures: list[CrecheError] = []
    try:
        await requirements(container)
        async with trio.open_nursery() as nursery:
            async with open_logs(container, drivers, nursery) as logs:
                container.logs = logs
                status = await run_once(
                    container.spec,
                    drivers,
                    directory=container.directory,
                    logs=logs,
                    stdin=container.stdin,
                    terminal=container.terminal,
                    neighbour=neighbour,
                    task_status=_OnStart(container, drivers.execution_of(container.spec), nursery),
                )
            nursery.cancel_scope.cancel()  # it will not become ready any more, nor say anything
        return status
    except* (CrecheError, *HOST_ERRORS) as group:
        failures += reported(group, f"start container {container.name}")
    finally:
        container.logs = None
        container.output.end()
        container.stdin = Stdin()
    return failures[0]


class _OnStart(trio.TaskStatus[Started]):
    """What happens at the moment at which the command has been executed."""

    def __init__(
        self, container: Container, execution: ExecutionDriver, nursery: trio.Nursery
    ) -> None:
        self._container = container
        self._execution = execution
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
            oom_killed=False,
        )
        container.announce("start")
        self._nursery.start_soon(_watch_oom, container, self._execution)
        after_s = container.spec.unit.ready_after_s if container.spec.unit else 0.0
        if after_s:
            self._nursery.start_soon(_become_ready, container, after_s)
        else:
            container.move(State.RUNNING)


async def _watch_oom(container: Container, execution: ExecutionDriver) -> None:
    """Tell that the kernel has killed processes for want of memory; others may live on.

    Who lives for a moment is not watched: his end tells.
    """

    def tell() -> None:
        container.update(oom_killed=True)
        container.announce("oom")

    try:
        await trio.sleep(OOM_WATCH_AFTER_S)
        await execution.watch_oom(container.id, tell)
    except NotRunning:
        return  # it has ended
    except CrecheError as error:
        log.warning("container.oom_not_watched", name=container.name, error=error)


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
    was_ready = before.state in READY
    container.last_run_was_ready = was_ready
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
        if outcome.oom_killed and not container.record.oom_killed:
            container.announce("oom")  # its end was quicker than the watch
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


async def end(
    container: Container,
    drivers: Drivers,
    *,
    signum: int | None = None,
    grace_s: float | None = None,
    state: State = State.STOPPED,
) -> None:
    """End a container that is up: its stop signal, the time of grace, then every process killed.

    Returns when it is at rest in `state`. Raises DriverError naming the processes that even
    SIGKILL could not end.
    """
    container.end(state)
    if container.record.pid:
        was_paused = container.record.state is State.PAUSED
        if container.record.state is not State.STOPPING:
            container.move(State.STOPPING)
        await _signal_and_wait(container, drivers, signum, grace_s, was_paused)
    await container.at_rest()


async def _signal_and_wait(
    container: Container,
    drivers: Drivers,
    signum: int | None,
    grace_s: float | None,
    was_paused: bool,
) -> None:
    execution = drivers.execution_of(container.spec)
    if grace_s is None:
        grace_s = container.spec.stop_grace_s
    if grace_s is None:
        grace_s = DEFAULT_STOP_GRACE_S
    signum = stop_signal(container) if signum is None else signum
    try:
        await execution.kill(container.id, signum)
        container.announce("kill", signal=str(int(signum)))
        if was_paused:  # it takes the signal as it goes on
            await execution.unpause(container.id)
            container.announce("unpause")
        with trio.move_on_after(grace_s if grace_s >= 0 else float("inf")):
            await container.at_rest()
            return
        await execution.terminate(container.id)
        container.announce("kill", signal=str(int(signal.SIGKILL)))
        with trio.move_on_after(KILL_S):
            await container.at_rest()
            return
        pids = await execution.pids(container.id)
    except NotRunning:
        return  # it ended by itself in between
    raise DriverError(
        f"container {container.name}: processes {pids} do not end after SIGKILL: "
        "they wait for the kernel (see the state D in ps), most often for a disk or a network mount"
    )


def stop_signal(container: Container) -> int:
    """The signal that asks the container to end."""
    return parse_signal(container.spec.stop_signal)


def parse_signal(text: str) -> int:
    """The number of "TERM", "SIGTERM", "15" or "RTMIN+3".

    Raises InvalidRequest in Docker's words.
    """
    name = text.upper().removeprefix("SIG")
    if name.isdecimal() and 1 <= int(name) <= signal.SIGRTMAX:
        return int(name)
    base, plus, offset = name.partition("+")
    if plus and base == "RTMIN" and offset.isdecimal():
        number = signal.SIGRTMIN + int(offset)
        if number <= signal.SIGRTMAX:
            return number
    known = {s.name.removeprefix("SIG"): int(s) for s in signal.Signals}
    if name in known:
        return known[name]
    raise InvalidRequest(f"Invalid signal: {text}", field="signal")


def after_restart(record: Record) -> Record:
    """What a stored record means to a new daemon: what was up has ended with the old one."""
    if record.state is State.REMOVING:
        return msgspec.structs.replace(record, state=State.DEAD)
    if record.state not in UP:
        return record
    return msgspec.structs.replace(
        record,
        state=State.EXITED,
        pid=0,
        exit_code=EXIT_CODE_UNKNOWN if record.pid else record.exit_code,
        finished_ns=time.time_ns() if record.pid else record.finished_ns,
    )


def starts_with_daemon(container: Container) -> bool:
    """Whether the container starts without being asked when the daemon does."""
    if container.spec.unit:
        return container.spec.unit.autostart
    match container.spec.restart.name:
        case "always":
            return container.record.state is not State.CREATED
        case "unless-stopped":
            return container.record.state not in (State.CREATED, State.STOPPED)
    return False
