"""An execution driver whose commands are Python functions, for tests on a virtual clock."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import trio

from drivers.errors import (
    AlreadyExists,
    CommandNotFound,
    Conflict,
    CrecheError,
    InvalidRequest,
    LimitUnavailable,
    NotRunning,
)
from drivers.execution import base
from drivers.execution.base import Command, Describe, ExitStatus, Info, Pipes, Started
from drivers.execution.resources import Limits, Usage
from drivers.kernel.terminal import set_window_size

Program = Callable[["Process"], Awaitable[int]]

_FIRST_PID = 1000
_IGNORED_BY_DEFAULT = frozenset({0, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT})


@dataclass(slots=True, eq=False)
class Process:
    """What a program has: its command, its streams, and the signals it does not die of."""

    command: Command | base.Process
    pid: int
    stdin: int
    stdout: int
    stderr: int
    ignored: set[int] = field(default_factory=set)
    received: list[int] = field(default_factory=list)
    signal_arrived: trio.Event = field(default_factory=trio.Event)
    killed_by: int | None = None
    oom_killed: bool = False
    paused: bool = False
    pending: list[int] = field(default_factory=list)  # signals that came while it was paused
    limits: Limits = field(default_factory=Limits)
    usage: Usage = field(default_factory=Usage)
    oom_watchers: list[Callable[[], None]] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def write(self, data: bytes) -> None:
        """Write to stdout; a test reads what it lets a program write."""
        os.write(self.stdout, data)

    def write_error(self, data: bytes) -> None:
        """Write to stderr."""
        os.write(self.stderr, data)

    async def read_line(self) -> bytes:
        """A line of stdin, or what is there before its end."""
        line = b""
        while not line.endswith(b"\n"):
            with contextlib.suppress(PermissionError):  # /dev/null never makes anybody wait
                await trio.lowlevel.wait_readable(self.stdin)
            byte = os.read(self.stdin, 1)
            if not byte:
                break
            line += byte
        return line

    def run_out_of_memory(self) -> None:
        """Have one of its children killed, which it survives."""
        self.oom_killed = True
        for tell in self.oom_watchers:
            tell()

    def die(self, signum: int) -> None:
        """End as if killed by a signal."""
        self.killed_by = signum
        self.scope.cancel()

    def take_signal(self, signum: int) -> None:
        """Do what the kernel does with a signal."""
        if self.paused:
            self.pending.append(signum)
            return
        self.received.append(signum)
        self.signal_arrived.set()
        ignored = signum in self.ignored or signum in _IGNORED_BY_DEFAULT
        if signum == signal.SIGKILL or not ignored:
            self.die(signum)


def exits(
    code: int = 0, *, after_s: float = 0, stdout: bytes = b"", stderr: bytes = b""
) -> Program:
    """A program that writes, works for a while, and exits."""

    async def program(process: Process) -> int:
        if stdout:  # to say nothing works with a terminal that has been hung up, too
            process.write(stdout)
        if stderr:
            process.write_error(stderr)
        await trio.sleep(after_s)
        return code

    return program


def runs_forever(*, ignoring: frozenset[int] = frozenset(), stdout: bytes = b"") -> Program:
    """A program that only a signal ends, and not one that it ignores."""

    async def program(process: Process) -> int:
        process.ignored |= ignoring
        process.write(stdout)
        await trio.sleep_forever()

    return program


def fails(error: CrecheError) -> Program:
    """No program: starting it raises `error`."""

    def program(process: Process) -> Awaitable[int]:
        raise error

    return program


class FakeExecution:
    """Runs programs by their argv; `scripts` may be changed while the driver is in use."""

    name = "fake"

    def __init__(self, scripts: Mapping[tuple[str, ...], Program] | None = None) -> None:
        self.scripts: dict[tuple[str, ...], Program] = dict(scripts or {})
        self.commands: list[Command] = []  # every one that was started
        self.live: dict[str, Process] = {}
        self.execs: list[Process] = []  # those that run
        self.refused_shares = 3  # a limit that cannot be had
        self.left: set[str] = set()  # keys that `leftovers` tells of
        self._next_pid = _FIRST_PID

    async def run(
        self,
        key: str,
        describe: Describe,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        if key in self.live:
            raise AlreadyExists(f"container {key} is running")
        command = describe()  # a thread is no part of the time that a mocked clock counts
        if not command.argv:
            raise InvalidRequest("no command specified", field="Cmd")
        await trio.lowlevel.checkpoint()
        program = self.scripts.get(command.argv)
        if program is None:
            detail = f'exec: "{command.argv[0]}": executable file not found in $PATH'
            raise CommandNotFound("exec", 2, detail)
        with ExitStack() as held:
            process, started = self._start(command, pipes, held)
            running = program(process)
            self.live[command.key] = process
            held.callback(self.live.pop, command.key)
            held.callback(self._end_execs, command.key)
            held.callback(process.ended.set)
            self.commands.append(command)
            task_status.started(started)
            return await self._run(process, running)

    async def exec(
        self,
        process: base.Process,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        await trio.lowlevel.checkpoint()
        if self._of(process.key).paused:
            raise Conflict(f"container {process.key} is paused")
        program = self.scripts.get(process.argv)
        if program is None:
            detail = f'exec: "{process.argv[0]}": executable file not found in $PATH'
            raise CommandNotFound("exec", 2, detail)
        with ExitStack() as held:
            started_process, started = self._start(process, pipes, held)
            running = program(started_process)
            self.execs.append(started_process)
            held.callback(self.execs.remove, started_process)
            task_status.started(started)
            return await self._run(started_process, running)

    async def _run(self, process: Process, running: Awaitable[int]) -> ExitStatus:
        code = 0
        with process.scope:
            code = await running
        if process.killed_by is not None:
            code = 128 + process.killed_by
        return ExitStatus(code=code, signal=process.killed_by, oom_killed=process.oom_killed)

    def _end_execs(self, key: str) -> None:
        for process in self.execs:
            if process.command.key == key:
                process.die(signal.SIGKILL)

    def _start(
        self, command: Command | base.Process, pipes: Pipes, held: ExitStack
    ) -> tuple[Process, Started]:
        def copy(fd: int) -> int:
            made = os.dup(fd)
            held.callback(os.close, made)
            return made

        ends, terminal_fd = (pipes.stdin, pipes.stdout, pipes.stderr), None
        with ExitStack() as failing:
            if command.terminal is not None:
                terminal_fd, slave = os.openpty()
                failing.callback(os.close, terminal_fd)
                held.callback(os.close, slave)
                set_window_size(slave, command.terminal.rows, command.terminal.columns)
                ends = (slave, slave, slave)
            streams = [copy(fd) for fd in ends]
            for fd in pipes.kept:
                copy(fd)
            failing.pop_all()
        self._next_pid += 1
        pid = self._next_pid
        started = Started(pid=pid, start_time_ticks=pid, terminal_fd=terminal_fd)
        limits = command.limits if isinstance(command, Command) else Limits()
        return Process(command, pid, *streams, limits=limits), started

    async def kill(self, key: str, signum: signal.Signals | int) -> None:
        self._of(key).take_signal(int(signum))

    async def pause(self, key: str) -> None:
        process = self._of(key)
        await trio.lowlevel.checkpoint()
        process.paused = True

    async def unpause(self, key: str) -> None:
        process = self._of(key)
        process.paused = False
        while process.pending:
            process.take_signal(process.pending.pop(0))

    async def terminate(self, key: str) -> None:
        self._of(key).die(signal.SIGKILL)

    async def pids(self, key: str) -> list[int]:
        return [self._of(key).pid]

    async def info(self, key: str) -> Info:
        pid = self._of(key).pid
        return Info(pid=pid, start_time_ticks=pid, cgroup=f"/fake/{key}")

    async def stats(self, key: str) -> Usage:
        return self._of(key).usage

    async def update(self, key: str, limits: Limits) -> None:
        process = self._of(key)
        if limits.cpu_shares == self.refused_shares:
            raise LimitUnavailable("cpu shares cannot be limited here")
        process.limits = limits

    async def watch_oom(self, key: str, tell: Callable[[], None]) -> None:
        process = self._of(key)
        if process.oom_killed:
            tell()
        process.oom_watchers.append(tell)
        try:
            await process.ended.wait()
        finally:
            process.oom_watchers.remove(tell)

    async def clean(self, key: str) -> None:
        self.left.discard(key)

    async def leftovers(self) -> list[str]:
        return sorted(self.left)

    def _of(self, key: str) -> Process:
        process = self.live.get(key)
        if process is None:
            raise NotRunning(f"container {key} is not running")
        return process
