"""The terminal of a process, seen from the daemon."""

from __future__ import annotations

import os

from drivers.errors import InvalidRequest
from drivers.execution.base import WindowSize
from drivers.kernel.terminal import LARGEST_SIZE, open_peer, set_window_size
from supervisor.output import Output


class Terminal:
    """Our end of a terminal while it is there, and its size at any time.

    Made without one; `open` takes it, `close` gives it up. Whoever opens it sees to its closing.
    """

    def __init__(self, size: WindowSize) -> None:
        self.size = size
        self._fd = -1
        self._peer_fd = -1

    def open(self, fd: int) -> Output:
        """Take our end from a driver; what is written to it, on a descriptor of its own.

        While we hold the other end as well, a process that closes the terminal may open it again:
        until then reading would fail, and tell of no end to that.
        """
        self._fd = fd
        self.resize(self.size)  # which may have changed since the driver was told
        os.set_blocking(fd, False)
        self._peer_fd = open_peer(fd)
        return Output(os.dup(fd))

    def close(self) -> None:
        """Hang up. Idempotent."""
        for fd in (self._fd, self._peer_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._peer_fd = -1

    def input_fd(self) -> int:
        """A descriptor of the caller's own to write what is typed."""
        return os.dup(self._fd)

    def resize(self, size: WindowSize) -> None:
        """Change the size, now and for terminals opened later."""
        self.size = size
        if self._fd >= 0:
            set_window_size(self._fd, size.rows, size.columns)


def check_size(rows: int, columns: int) -> WindowSize:
    """The size that is asked for. Raises InvalidRequest."""
    if not (0 <= rows <= LARGEST_SIZE and 0 <= columns <= LARGEST_SIZE):
        raise InvalidRequest(f"a terminal cannot be {rows} by {columns} characters", field="h")
    return WindowSize(rows=rows, columns=columns)
