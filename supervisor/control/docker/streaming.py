"""A hijacked connection as the streams of a container or of an exec."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from drivers.errors import NotRunning
from drivers.log.base import Source
from supervisor.control.hangup import hung_up
from supervisor.detach import KeyFilter

_READ_BYTES = 64 * 1024

Encode = Callable[[Source, bytes], bytes]


class Streams(Protocol):
    """What a client holds of a process."""

    @property
    def output(self) -> AsyncIterator[tuple[Source, bytes]]: ...

    async def send_stdin(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a client talks to a process. With `keys` the process has a terminal, which they leave."""

    encode: Encode
    sources: frozenset[Source]
    stdin: bool
    keys: bytes | None = None


async def converse(
    streams: Streams, manner: Manner, stream: trio.SocketStream, first: bytes
) -> bool:
    """Pass both directions on until the output ends or the client goes; whether it left by keys.

    `first` is what the client has sent already.
    """
    keys = KeyFilter(manner.keys) if manner.keys is not None else None
    try:
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            fed = streams if manner.stdin else None
            nursery.start_soon(_listen, fed, keys, stream, first, scope)
            async for source, data in streams.output:
                if source in manner.sources:
                    await stream.send_all(manner.encode(source, data))
            scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client is gone; the process goes on
    return keys is not None and keys.detached


async def _listen(
    streams: Streams | None,
    keys: KeyFilter | None,
    stream: trio.SocketStream,
    first: bytes,
    scope: trio.CancelScope,
) -> None:
    """Pass on what the client sends; once it has hung up, nobody reads the output any more."""
    try:
        await _feed(streams, keys, stream, first)
    except NotRunning:
        pass  # the process takes no more; its output may go on
    except trio.BrokenResourceError:
        scope.cancel()  # reset: closed with output unread
    if streams is not None:
        streams.close_stdin()
        if keys is not None:
            scope.cancel()  # who types no more at a terminal has left it, as with dockerd
    await hung_up(stream)
    scope.cancel()


async def _feed(
    streams: Streams | None, keys: KeyFilter | None, stream: trio.SocketStream, first: bytes
) -> None:
    """Pass on what the client sends, to where it writes no more or leaves."""
    data: bytes | bytearray = first
    while True:
        if data and streams is not None:
            passed = bytes(data) if keys is None else keys.feed(bytes(data))
            if passed:
                await streams.send_stdin(passed)
            if keys is not None and keys.detached:
                return
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            return
