"""Terminals from the side that is not a program's. Source: ioctl_tty(2), pty(7)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

LARGEST_SIZE = 0xFFFF  # rows and columns are unsigned shorts

_TIOCGPTPEER = 0x5441  # Linux 4.13; the same on every architecture we run on
_WINSIZE = struct.Struct("HHHH")  # struct winsize: rows, columns, and two that nobody uses


def window_size(fd: int) -> tuple[int, int]:
    """Rows and columns. Raises OSError: ENOTTY if it is no terminal."""
    raw = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_WINSIZE.size))
    rows, columns, _, _ = _WINSIZE.unpack(raw)
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Change the size; who is in the foreground gets SIGWINCH. Raises OSError as above."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, _WINSIZE.pack(rows, columns, 0, 0))


def open_peer(fd: int) -> int:
    """The program's end of the terminal whose other end is `fd`, without any path.

    It does not become the caller's controlling terminal.
    """
    return fcntl.ioctl(fd, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
