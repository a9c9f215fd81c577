"""The output of a container as it comes, for whoever is attached."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import trio

from drivers.log.base import Source

Chunk = tuple[Source, bytes]

LISTENER_BYTES = 16 * 1024 * 1024  # a listener this far behind is let go
_ENDLESS = 1 << 30  # the channel counts chunks; the bytes are what is bounded


class Listener:
    """One attached client: an asynchronous iterator of chunks until the run's end."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Chunk](_ENDLESS)
        self._waiting_bytes = 0

    def offer(self, chunk: Chunk) -> bool:
        """Take a chunk; False if too much is waiting already."""
        self._waiting_bytes += len(chunk[1])
        if self._waiting_bytes > LISTENER_BYTES:
            return False
        self._send.send_nowait(chunk)
        return True

    def end(self) -> None:
        """No chunk follows those taken so far."""
        self._send.close()

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Chunk:
        try:
            chunk = await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        self._waiting_bytes -= len(chunk[1])
        return chunk


class Broadcast:
    """Hands each chunk to every listener and never waits for one of them."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def publish(self, source: Source, data: bytes) -> None:
        """Hand on what was read; a listener that is too far behind is let go."""
        for listener in tuple(self._listeners):
            if not listener.offer((source, data)):
                self._listeners.discard(listener)
                listener.end()

    def end(self) -> None:
        """The run is over: every listener ends after what it was handed."""
        for listener in self._listeners:
            listener.end()
        self._listeners.clear()

    @contextlib.contextmanager
    def listen(self) -> Iterator[Listener]:
        """Chunks from now on, until the run's end or the end of the block."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            listener.end()
