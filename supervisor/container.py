"""One container: what it is, how it is doing, and who waits for that to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from drivers.errors import CrecheError
from drivers.execution.base import ExitStatus, WindowSize
from supervisor import states
from supervisor.logs.broadcast import Broadcast
from supervisor.logs.container_logs import ContainerLogs
from supervisor.spec import ContainerSpec
from supervisor.states import UP, Record, State
from supervisor.stdin import Stdin
from supervisor.terminal import Terminal


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
        rows, columns = spec.console_size
        self.terminal = Terminal(WindowSize(rows=rows, columns=columns))
        self.starting = trio.Lock()  # one start or removal at a time
        self.pausing = trio.Lock()  # one at a time
        self.updating = trio.Lock()  # one change of the limits at a time
        self.start_failure: CrecheError | None = None  # why the newest start came to nothing
        self.exits = 0  # how often a process of it has ended under this daemon
        self.last_exit: ExitStatus | None = None
        self.ending = False  # asked to end: no restart follows
        self.end_state = State.STOPPED  # where it comes to rest when asked to end
        self.starts = 0  # how often its command has been executed under this daemon
        self.started_in_life = False  # whether it has since the last start by hand
        self.started_at = 0.0  # trio's time of the newest start
        self.last_run_was_ready = False
        self.logs: ContainerLogs | None = None  # while it is up
        self._interruptible = trio.CancelScope()
        self._announce = announce
        self._save = save
        self._changed = trio.Event()
        self.removed = False

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
        """Make a move of the table, store it, and wake whoever waits for one.

        That it is being started is not stored: it has not been if the daemon ends before it is.
        """
        self.record = states.move(self.record, to, **changes)
        if to is not State.STARTING:
            self._save(self.spec, self.record)
        self._wake()

    def update(self, **changes: object) -> None:
        """Change fields of the record within a state."""
        self.record = msgspec.structs.replace(self.record, **changes)
        self.touch()

    def touch(self) -> None:
        """Store spec and record, and wake whoever waits."""
        self._save(self.spec, self.record)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def gone(self) -> None:
        """It has been removed; wake whoever waits for that."""
        self.removed = True
        self._changed.set()

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

    async def not_starting(self) -> None:
        """Wait until it is ready, or has failed to become so."""
        await self.until(lambda: self.record.state is not State.STARTING)

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
