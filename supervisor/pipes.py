"""The three streams of a process before it starts, and the hand-over when it has."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import trio

from drivers.execution.base import Pipes, Started
from drivers.kernel.descriptors import check_not_reserved
from supervisor.output import Output


class ChildEnds:
    """The ends of the three streams that the process gets; ours is to close them."""

    def __init__(self, pipes: Pipes) -> None:
        self.pipes = pipes
        self._open = {pipes.stdin, pipes.stdout, pipes.stderr}

    def __enter__(self) -> ChildEnds:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open yet."""
        while self._open:
            os.close(self._open.pop())


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Both sides of the streams. Ours are the caller's to close; there is no feed without stdin."""

    child: ChildEnds
    stdout: Output
    stderr: Output
    feed_fd: int | None


def open_pipes(*, stdin: bool, keep: bool) -> Opened:
    """Pipes for the output, and for the input if there is any, else /dev/null.

    `keep` asks the driver to keep the reading ends open as well.
    """
    with ExitStack() as opened:  # closes them again should the descriptors run out half way

        def pipe() -> tuple[int, int]:
            ends = os.pipe2(os.O_CLOEXEC)
            for fd in ends:
                opened.callback(os.close, fd)
            check_not_reserved(ends[1])
            return ends

        stdout, child_stdout = pipe()
        stderr, child_stderr = pipe()
        child_stdin, feed = pipe() if stdin else (_open_null(os.O_RDONLY), None)
        opened.pop_all()
    kept = (stdout, stderr) if keep else ()
    pipes = Pipes(stdin=child_stdin, stdout=child_stdout, stderr=child_stderr, kept=kept)
    return Opened(
        child=ChildEnds(pipes), stdout=Output(stdout), stderr=Output(stderr), feed_fd=feed
    )


def no_pipes() -> ChildEnds:
    """What a process with a terminal has instead."""
    null = _open_null(os.O_RDWR)
    try:
        check_not_reserved(null)
    except OSError:
        os.close(null)
        raise
    return ChildEnds(Pipes(stdin=null, stdout=null, stderr=null))


def _open_null(flags: int) -> int:
    return os.open(os.devnull, flags | os.O_CLOEXEC)


class HandOver(trio.TaskStatus[Started]):
    """Does what is due when the process has its streams, before anybody hears of its start.

    What only the start needed is let go of; our copies of the child's ends among it, or nobody
    would see the end of its output. Its terminal is taken: the receiver's to close from now on.
    """

    def __init__(
        self,
        task_status: trio.TaskStatus[Started],
        let_go: Callable[[], None],
        take_terminal: Callable[[int], None],
    ) -> None:
        self._task_status = task_status
        self._let_go = let_go
        self._take_terminal = take_terminal

    def started(self, value: Started | None = None) -> None:
        assert value is not None
        self._let_go()
        if value.terminal_fd is not None:
            self._take_terminal(value.terminal_fd)
        self._task_status.started(value)
