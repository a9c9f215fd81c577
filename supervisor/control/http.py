"""Requests and answers, as handlers see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import trio

from drivers.errors import InvalidRequest, TooLarge

T = TypeVar("T")

JSON_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the socket. Source: unix(7), SO_PEERCRED."""

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # the supplementary ones


@dataclass(slots=True)
class Request:
    """One request. `body` can be read once, by one of the methods."""

    method: str
    path: str  # decoded, without the API version
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case
    peer: Peer
    body: AsyncIterator[bytes]
    api_version: tuple[int, int] = (0, 0)
    parameters: Mapping[str, str] = field(default_factory=dict)  # named groups of the route

    def get(self, name: str, default: str = "") -> str:
        """A query parameter, the last of several."""
        return self.query.get(name, [default])[-1]

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean query parameter, read as Docker reads it."""
        text = self.get(name).lower()
        return default if not text else text not in ("0", "no", "false", "none")

    def number(self, name: str) -> int | None:
        """An integer query parameter, or None. Raises InvalidRequest."""
        text = self.get(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise InvalidRequest(f"{name}: {text!r} is not a number", field=name) from error

    async def read(self, limit_bytes: int = JSON_BYTES) -> bytes:
        """The whole body. Raises TooLarge."""
        parts: list[bytes] = []
        size = 0
        async for part in self.body:
            size += len(part)
            if size > limit_bytes:
                raise TooLarge(f"request body is larger than {limit_bytes} bytes")
            parts.append(part)
        return b"".join(parts)

    async def json(self, type_: type[T]) -> T:
        """The body as JSON of a type. Raises InvalidRequest naming the field that is wrong."""
        raw = await self.read()
        try:
            return msgspec.json.decode(raw or b"{}", type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"invalid JSON: {error}") from error


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer whose body is known."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Stream:
    """An answer whose body comes in pieces; the head is sent at once, before the first.

    What the body works with is entered into `held` by the handler, while a failure can still be
    told by a status and before the client can know of the answer; it is left when the answer ends.
    """

    body: AsyncIterator[bytes]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False  # end the connection after it
    is_one_piece: bool = False  # the first piece is the last, and nothing follows it
    held: AsyncExitStack = field(default_factory=AsyncExitStack)


@dataclass(slots=True, kw_only=True)
class Hijack:
    """The connection becomes a plain stream of bytes, as attaching needs it; `held` as above."""

    run: Callable[[trio.SocketStream, bytes], Awaitable[None]]  # and what was read already
    content_type: str = "application/vnd.docker.raw-stream"
    held: AsyncExitStack = field(default_factory=AsyncExitStack)


Answer = Response | Stream | Hijack
