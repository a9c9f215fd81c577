"""HTTP/1.1 over a stream: bytes to requests, answers to bytes. The framing is h11's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import msgspec
import trio

from drivers.errors import InvalidRequest, TooLarge

T = TypeVar("T")

HEADER_BYTES = 64 * 1024
HEADER_S = 30.0  # for a request's head, once it has begun
IDLE_S = 300.0
BODY_S = 300.0  # without a byte of the body
JSON_BYTES = 4 * 1024 * 1024
_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the socket. Source: unix(7), SO_PEERCRED."""

    pid: int
    uid: int
    gid: int


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
    """An answer whose body comes in pieces; the head is sent at once, before the first."""

    body: AsyncIterator[bytes]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False  # end the connection after it


@dataclass(slots=True, kw_only=True)
class Hijack:
    """The connection becomes a plain stream of bytes, as attaching needs it."""

    run: Callable[[trio.abc.Stream, bytes], Awaitable[None]]  # and what was read already
    content_type: str = "application/vnd.docker.raw-stream"


Answer = Response | Stream | Hijack


class Disconnected(Exception):
    """The client is gone."""


class Connection:
    """One client's connection."""

    def __init__(self, stream: trio.SocketStream, peer: Peer, server: str) -> None:
        self._stream = stream
        self._peer = peer
        self._server = server
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)

    async def next_request(self) -> Request | None:
        """The next request, or None when the client has closed or said nothing for too long."""
        if self._h11.our_state is h11.MUST_CLOSE or self._h11.their_state is h11.MUST_CLOSE:
            return None
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        with trio.move_on_after(HEADER_S if self._h11.trailing_data[0] else IDLE_S):
            event = await self._next_event()
            if isinstance(event, h11.Request):
                return self._request(event)
        return None

    def _request(self, event: h11.Request) -> Request:
        target = urlsplit(event.target.decode("latin-1"))
        return Request(
            method=event.method.decode("ascii"),
            path=unquote(target.path),
            query=parse_qs(target.query, keep_blank_values=True),
            headers={k.decode("latin-1"): v.decode("latin-1") for k, v in event.headers},
            peer=self._peer,
            body=self._body(),
        )

    async def _body(self) -> AsyncIterator[bytes]:
        if self._h11.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._send(self._h11.send(go_on))
        while True:
            with trio.fail_after(BODY_S):
                event = await self._next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                return

    async def _next_event(self) -> object:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            try:
                self._h11.receive_data(await self._stream.receive_some(_READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Disconnected from error

    async def _send(self, data: bytes | None) -> None:
        try:
            if data:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Disconnected from error

    async def answer(self, request: Request, answer: Answer, headers: Mapping[str, str]) -> bool:
        """Send an answer; whether another request may follow on this connection."""
        match answer:
            case Response():
                await self._send_response(request, answer, headers)
            case Stream():
                await self._send_stream(answer, headers)
                return not answer.close
            case Hijack():
                await self._hijack(request, answer, headers)
                return False
        await self._skip_body()
        return True

    def _head(self, headers: Mapping[str, str], content_type: str) -> list[tuple[str, str]]:
        head = [("Server", self._server), *headers.items()]
        return [*head, ("Content-Type", content_type)] if content_type else head

    async def _send_response(
        self, request: Request, answer: Response, headers: Mapping[str, str]
    ) -> None:
        body = b"" if request.method == "HEAD" or answer.status in (204, 304) else answer.body
        has_body = answer.status not in (204, 304)
        head = self._head({**headers, **answer.headers}, answer.content_type if has_body else "")
        if has_body:
            head.append(("Content-Length", str(len(answer.body))))
        if self._h11.they_are_waiting_for_100_continue:
            head.append(("Connection", "close"))
        data = (
            self._h11.send(
                h11.Response(
                    status_code=answer.status, headers=head, reason=HTTPStatus(answer.status).phrase
                )
            )
            or b""
        )
        data += (self._h11.send(h11.Data(data=body)) or b"") if body else b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await self._send(data)

    async def _send_stream(self, answer: Stream, headers: Mapping[str, str]) -> None:
        head = self._head({**headers, **answer.headers}, answer.content_type)
        if answer.close:
            head.append(("Connection", "close"))
        head.append(("Transfer-Encoding", "chunked"))
        async with contextlib.aclosing(answer.body) as body:  # type: ignore[type-var]
            await self._skip_body()
            await self._send(
                self._h11.send(h11.Response(status_code=200, headers=head, reason="OK"))
            )
            async with self._ended_by_hang_up():
                async for part in body:
                    if part:
                        await self._send(self._h11.send(h11.Data(data=part)))
        await self._send(self._h11.send(h11.EndOfMessage()))

    @contextlib.asynccontextmanager
    async def _ended_by_hang_up(self) -> AsyncIterator[None]:
        """Raise Disconnected in the block when the client closes while it waits."""
        gone = False

        async def watch(scope: trio.CancelScope) -> None:
            nonlocal gone
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await self._stream.receive_some(_READ_BYTES):
                    self._h11.receive_data(data)
            gone = True
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, nursery.cancel_scope)
            yield
            nursery.cancel_scope.cancel()
        if gone:
            raise Disconnected

    async def _hijack(self, request: Request, answer: Hijack, headers: Mapping[str, str]) -> None:
        await self._skip_body()
        head = self._head(headers, answer.content_type)
        if "upgrade" in request.headers:
            head += [("Connection", "Upgrade"), ("Upgrade", request.headers["upgrade"])]
            data = self._h11.send(h11.InformationalResponse(status_code=101, headers=head))
        else:
            data = _plain_head(head)
        await self._send(data)  # a write of its own: clients lose what comes with the head
        await answer.run(self._stream, self._h11.trailing_data[0])

    async def _skip_body(self) -> None:
        """Read what is left of the request's body, so that the next request can follow."""
        while self._h11.their_state is h11.SEND_BODY:
            if self._h11.they_are_waiting_for_100_continue:
                return
            await self._next_event()


def _plain_head(headers: list[tuple[str, str]]) -> bytes:
    """The head of an answer that old clients take as the start of a raw stream."""
    lines = [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1")
