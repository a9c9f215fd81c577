"""Our own terminal: its size, and its raw mode, which ends however we do."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType

_FATAL = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)


def is_there() -> bool:
    """Whether what we read is typed."""
    return sys.stdin.isatty()


def size() -> tuple[int, int] | None:
    """Rows and columns of our window; None if there is none."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return None
    return rows, columns


@contextlib.contextmanager
def raw() -> Iterator[None]:
    """Every key goes through as it is, and nothing is echoed here; as before after the block."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)  # by way of the restoration

    handlers = {number: signal.signal(number, end) for number in _FATAL}
    try:
        tty.setraw(fd)
        yield
    finally:
        # what was typed and not read yet is for whoever reads next
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def size_passed_on(tell: Callable[[int, int], None]) -> Iterator[None]:
    """Tell the size now and whenever it changes."""

    def pass_on(*_: object) -> None:
        found = size()
        if found is not None:
            tell(*found)

    before = signal.signal(signal.SIGWINCH, pass_on)
    try:
        pass_on()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
