"""One exec: a further process in a running container, from its creation to after its end."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator

import trio

from drivers.errors import Conflict, CrecheError, NotFound, NotRunning, SpawnFailed
from drivers.execution.base import ExitStatus, WindowSize
from drivers.log.base import Source
from supervisor.container import Container
from supervisor.spec import Value
from supervisor.stdin import Stdin
from supervisor.terminal import Terminal

WAITING_CHUNKS = 2  # of each stream, for a client that reads slowly: the process waits for it
NOT_STARTED_CODE = 126  # what dockerd gives an exec whose command could not be started

Chunk = tuple[Source, bytes]


class ExecSpec(Value, frozen=True, kw_only=True):
    """What an exec is asked to be. What it leaves open is as in the container."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    privileged: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] = (0, 0)  # rows and columns


class ExecState(enum.Enum):
    """Each comes after the one before."""

    CREATED = "created"
    RUNNING = "running"  # or about to: it cannot be started again
    EXITED = "exited"


class ExecInstance:
    """The state of one exec; only `ExecInstances` changes it."""

    def __init__(self, exec_id: str, container: Container, spec: ExecSpec) -> None:
        self.id = exec_id
        self.container = container
        self.spec = spec
        self.run = container.starts  # of the container: with that run it ends
        self.state = ExecState.CREATED
        self.pid = 0  # kept after the end, as dockerd keeps it
        self.exit_code: int | None = None
        self.failure: CrecheError | None = None  # why it could not be started
        self.since_s = trio.current_time()  # of its creation, then of its end
        self.stdin = Stdin()
        rows, columns = spec.console_size
        self.terminal = Terminal(WindowSize(rows=rows, columns=columns))
        self._output, self._unread = trio.open_memory_channel[Chunk](WAITING_CHUNKS)
        self._changed = trio.Event()

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended yet."""
        return self.state is ExecState.RUNNING

    @property
    def container_goes_on(self) -> bool:
        """Whether the run of the container is still on in which this was created."""
        container = self.container
        return bool(container.record.pid) and container.starts == self.run

    def announce(self, action: str, **attributes: str) -> None:
        """Publish an event about it, which is one of the container's."""
        self.container.announce(action, execID=self.id, **attributes)

    def announce_command(self, action: str) -> None:
        """The same, with the command in the action's name as Docker writes it."""
        entrypoint, *arguments = self.spec.argv
        self.announce(f"{action}: {entrypoint} {' '.join(arguments)}")

    def begin(self) -> None:
        """It is going to be started. Raises Conflict in Docker's words if it has been before."""
        if self.state is ExecState.RUNNING:
            raise Conflict(f"Error: Exec command {self.id} is already running")
        if self.state is ExecState.EXITED:
            raise Conflict(f"Error: Exec command {self.id} has already run")
        self.state = ExecState.RUNNING
        self.announce_command("exec_start")

    def executed(self, pid: int) -> None:
        """Its command runs."""
        self.pid = pid
        self._touch()

    def ended(self, outcome: ExitStatus | CrecheError | None) -> None:
        """It has ended, could not be started, or was cancelled with the daemon. Idempotent."""
        if self.state is ExecState.EXITED:
            return
        self.state = ExecState.EXITED
        self.since_s = trio.current_time()
        if isinstance(outcome, ExitStatus):
            self.exit_code = outcome.code
            self.announce("exec_die", exitCode=str(outcome.code))
        else:
            self.failure = outcome
            self.exit_code = _code_of(outcome)
        self._touch()

    def _touch(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition on it holds."""
        while not holds():
            await self._changed.wait()

    def resize(self, size: WindowSize) -> None:
        """Change the size of its terminal, or that at its start. Raises NotFound at its end."""
        if self.state is ExecState.EXITED:
            raise NotFound(f"no such exec: {self.id} has ended")
        self.terminal.resize(size)

    # -- its streams

    async def deliver(self, source: Source, data: bytes) -> None:
        """Give output to the client, and wait while it has enough; nobody there, it is lost."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self._output.send((source, data))

    def end_output(self) -> None:
        """The client has it all."""
        self._output.close()

    @contextlib.contextmanager
    def attach(self) -> Iterator[ExecAttachment]:
        """A client's hold, taken before the start. There is one at most; the process goes on."""
        attachment = ExecAttachment(self, self._unread)
        with self._unread:
            try:
                yield attachment
            finally:
                attachment.close_stdin()

    def nobody_attaches(self) -> None:
        """The output is for nobody."""
        self._unread.close()


class ExecAttachment:
    """A client's hold on the streams of an exec."""

    def __init__(self, instance: ExecInstance, output: trio.MemoryReceiveChannel[Chunk]) -> None:
        self.output = output  # until the end
        self._instance = instance

    async def send_stdin(self, data: bytes) -> None:
        """Pass `data` to the process. Raises NotRunning once its standard input is closed."""
        await self._instance.stdin.send(data)

    def close_stdin(self) -> None:
        """The client sends no more: the end of file. A terminal knows none."""
        if not self._instance.spec.tty:
            self._instance.stdin.close()


def _code_of(failure: CrecheError | None) -> int:
    """127 for a command that is not there, as newer dockerds; else theirs for every failure."""
    if isinstance(failure, SpawnFailed) and failure.exit_code != SpawnFailed.exit_code:
        return failure.exit_code
    return NOT_STARTED_CODE


def check_can_exec(container: Container) -> None:
    """Raise NotRunning or Conflict, in Docker's words, if no exec can be had in `container`."""
    status = container.record.docker_status
    if status == "restarting":
        raise Conflict(
            f"Container {container.id} is restarting, wait until the container is running"
        )
    if not container.record.pid:
        raise NotRunning(f"Container {container.id} is not running")
    if status == "paused":
        raise Conflict(f"Container {container.id} is paused, unpause the container before exec")
