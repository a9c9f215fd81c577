"""The states of a container, the moves between them, and what Docker and supervisor call them."""

from __future__ import annotations

import enum

import msgspec


class State(enum.StrEnum):
    """Where a container is in its life."""

    CREATED = "created"  # never started
    STARTING = "starting"  # waiting for what it requires, being set up, or not ready yet
    RUNNING = "running"  # up, and ready
    PAUSED = "paused"  # up, every process stopped where it is
    STOPPING = "stopping"  # has been asked to stop
    BACKOFF = "backoff"  # ended, waits to be started again
    STOPPED = "stopped"  # ended because it was asked to
    EXITED = "exited"  # ended by itself and stays so
    FATAL = "fatal"  # could not be started, or failed too often
    REMOVING = "removing"
    DEAD = "dead"  # could not be removed completely; removing it again goes on


MOVES: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.STARTING, State.REMOVING}),
    State.STARTING: frozenset(
        {State.RUNNING, State.BACKOFF, State.STOPPING, State.STOPPED, State.EXITED, State.FATAL}
    ),
    State.RUNNING: frozenset(
        {State.PAUSED, State.STOPPING, State.BACKOFF, State.STOPPED, State.EXITED, State.FATAL}
    ),
    State.PAUSED: frozenset(
        {State.RUNNING, State.STOPPING, State.BACKOFF, State.STOPPED, State.EXITED, State.FATAL}
    ),
    State.STOPPING: frozenset({State.STOPPED, State.EXITED}),
    State.BACKOFF: frozenset({State.STARTING, State.STOPPED, State.EXITED, State.FATAL}),
    State.STOPPED: frozenset({State.STARTING, State.REMOVING}),
    State.EXITED: frozenset({State.STARTING, State.REMOVING}),
    State.FATAL: frozenset({State.STARTING, State.REMOVING}),
    State.REMOVING: frozenset({State.DEAD}),
    State.DEAD: frozenset({State.REMOVING}),
}

# A life task is at work exactly in these.
UP = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING, State.BACKOFF})
# Up, and has become ready.
READY = frozenset({State.RUNNING, State.PAUSED})
# At rest: nothing of the container runs and nothing will by itself.
DOWN = frozenset({State.CREATED, State.STOPPED, State.EXITED, State.FATAL})

_DOCKER_STATUS: dict[State, str] = {
    State.CREATED: "created",
    State.STARTING: "running",
    State.RUNNING: "running",
    State.PAUSED: "paused",
    State.STOPPING: "running",
    State.BACKOFF: "restarting",
    State.STOPPED: "exited",
    State.EXITED: "exited",
    State.FATAL: "exited",
    State.REMOVING: "removing",
    State.DEAD: "dead",
}


class ProcessState(enum.IntEnum):
    """supervisor's process states. Source: its documentation, "Process States"."""

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


_SUPERVISOR_STATE: dict[State, ProcessState] = {
    State.CREATED: ProcessState.STOPPED,
    State.STARTING: ProcessState.STARTING,
    State.RUNNING: ProcessState.RUNNING,
    State.PAUSED: ProcessState.RUNNING,
    State.STOPPING: ProcessState.STOPPING,
    State.BACKOFF: ProcessState.BACKOFF,
    State.STOPPED: ProcessState.STOPPED,
    State.EXITED: ProcessState.EXITED,
    State.FATAL: ProcessState.FATAL,
    State.REMOVING: ProcessState.UNKNOWN,
    State.DEAD: ProcessState.UNKNOWN,
}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How a container is doing; replaced whole at each change, and stored."""

    state: State = State.CREATED
    pid: int = 0  # as the host sees it; 0 when no process runs
    start_time_ticks: int = 0
    exit_code: int = 0
    error: str = ""  # why the last start failed
    oom_killed: bool = False
    started_ns: int = 0  # since the epoch; 0 is never
    finished_ns: int = 0
    restart_count: int = 0  # by the restart policy, since the last start by hand
    failures: int = 0  # in a row, without a long enough run between

    @property
    def docker_status(self) -> str:
        """The word of `docker inspect`'s State.Status."""
        if self.state is State.STARTING and not self.pid:
            if self.restart_count:
                return "restarting"
            return "exited" if self.started_ns else "created"
        if self.state is State.FATAL and not self.started_ns:
            return "created"  # as dockerd leaves a container whose first start failed
        return _DOCKER_STATUS[self.state]

    @property
    def supervisor_state(self) -> ProcessState:
        """The code and name of supervisor's getProcessInfo."""
        return _SUPERVISOR_STATE[self.state]


class IllegalMove(Exception):
    """A bug: the life of a container tried a move that is not in the table."""


def move(record: Record, to: State, **changes: object) -> Record:
    """The record after a move, with other fields changed as well.

    Raises IllegalMove if the table does not have it.
    """
    if to not in MOVES[record.state]:
        raise IllegalMove(f"{record.state} -> {to}")
    return msgspec.structs.replace(record, state=to, **changes)
