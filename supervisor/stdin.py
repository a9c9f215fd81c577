"""The standard input of a container: what clients send, carried to a pipe."""

from __future__ import annotations

import os

import trio

from drivers.errors import NotRunning

WAITING_CHUNKS = 64  # kept before the container reads; a sender waits beyond that


class Stdin:
    """Takes bytes from any number of clients, before the container runs as well."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](WAITING_CHUNKS)

    async def send(self, data: bytes) -> None:
        """Pass `data` on; waits for room. Raises NotRunning once the stream is closed."""
        try:
            await self._send.send(data)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise NotRunning("the container's standard input is closed") from error

    def close(self) -> None:
        """The container reads the end of file after what was sent before."""
        self._send.close()

    async def pump(self, write_fd: int) -> None:
        """Write what is sent to `write_fd`, which it owns, until closed at either end."""
        os.set_blocking(write_fd, False)
        async with trio.lowlevel.FdStream(write_fd) as pipe:
            try:
                async for data in self._receive:
                    await pipe.send_all(data)
            except trio.BrokenResourceError:
                pass  # the container closed its end: the rest has no reader
            finally:
                self._receive.close()
