"""Our end of what a process writes: of a pipe, or of its terminal."""

from __future__ import annotations

import errno
import os

import trio

READ_BYTES = 1024 * 1024  # at a time, of who writes much
_FIRST_BYTES = 64 * 1024  # of who writes little: memory for more is had from the kernel each time
AFTER_END_BYTES = 4 * READ_BYTES  # no pipe holds more; beyond it somebody goes on writing


class Output:
    """Reads a descriptor, which it owns and closes with its block, to its end.

    The end is where every writer has closed its own; or, once `finish` has been called, where
    nothing is left to read. Others may keep a writing end of what has nothing more to say.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._waiting = trio.CancelScope()
        self._left: int | None = None  # bytes that are still read, once finished
        self._size = _FIRST_BYTES
        self._has_more = False

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def finish(self) -> None:
        """Who matters writes no more: what is there now is all."""
        if self._left is None:
            self._left = AFTER_END_BYTES
            self._waiting.cancel()

    async def receive(self) -> bytes:
        """What comes next; nothing at the end."""
        if self._has_more:  # others have their turn between two that are had without waiting
            await trio.lowlevel.checkpoint()
        self._has_more = True
        while self._left is None or self._left > 0:
            try:
                data = os.read(self.fd, min(self._size, self._left or READ_BYTES))
            except BlockingIOError:
                if self._left is not None:
                    break
                self._has_more = False
                with trio.CancelScope() as self._waiting:
                    await trio.lowlevel.wait_readable(self.fd)
                continue
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                break  # a terminal that nobody has open any more
            if len(data) == self._size:
                self._size = READ_BYTES
            elif len(data) < _FIRST_BYTES:
                self._size = _FIRST_BYTES
            if self._left is not None:
                self._left -= len(data)
            return data
        return b""
