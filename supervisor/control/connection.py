"""HTTP/1.1 over a stream: bytes to requests, answers to bytes. The framing is h11's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

import h11
import trio

from supervisor.control.hangup import ended_by_hang_up
from supervisor.control.http import Answer, Hijack, Peer, Request, Response, Stream

HEADER_BYTES = 64 * 1024
HEADER_S = 30.0  # for a request's head, once it has begun
IDLE_S = 300.0
BODY_S = 300.0  # without a byte of the body
SKIPPED_BYTES = 64 * 1024 * 1024  # of a body that nobody wants; a client that sends more is cut off
_HEAD_READ_BYTES = 16 * 1024
_BODY_READ_BYTES = 256 * 1024


class Disconnected(Exception):
    """The client is gone, or is to be."""


class Connection:
    """One client's connection."""

    def __init__(self, stream: trio.SocketStream, peer: Peer, server: str) -> None:
        self._stream = stream
        self._peer = peer
        self._server = server
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)

    async def next_request(self) -> Request | None:
        """The next request, or None when the client has closed or said nothing for too long."""
        if self._h11.our_state is self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        if self._h11.our_state is not h11.IDLE:
            return None
        with trio.move_on_after(HEADER_S if self._h11.trailing_data[0] else IDLE_S):
            event = await self._next_event(_HEAD_READ_BYTES)
            if isinstance(event, h11.Request):
                return self._request(event)
        return None

    def _request(self, event: h11.Request) -> Request:
        path, _, query = event.target.decode("latin-1").partition("?")
        return Request(
            method=event.method.decode("ascii"),
            path=unquote(path),
            query=parse_qs(query, keep_blank_values=True),
            headers={k.decode("latin-1"): v.decode("latin-1") for k, v in event.headers},
            peer=self._peer,
            body=_Body(self),
        )

    async def body_part(self) -> bytes | None:
        """What comes next of the present request's body; None at its end."""
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(self._h11.send(_information(HTTPStatus.CONTINUE)))
        with trio.fail_after(BODY_S):
            event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _next_event(self, read_bytes: int = _BODY_READ_BYTES) -> object:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            sock = self._stream.socket
            await trio.lowlevel.wait_readable(sock)
            try:
                self._h11.receive_data(os.read(sock.fileno(), read_bytes))
            except BlockingIOError:
                continue
            except OSError as error:
                raise Disconnected from error

    async def _send(self, data: bytes | None) -> None:
        try:
            if data:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Disconnected from error

    async def _send_whole(self, data: bytes) -> None:
        """As `_send`, for an answer that most sockets have room for: no turn is given to others."""
        try:
            sent = os.write(self._stream.socket.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Disconnected from error
        await self._send(data[sent:])

    async def answer(self, request: Request, answer: Answer, headers: Mapping[str, str]) -> bool:
        """Send an answer; whether another request may follow on this connection."""
        match answer:
            case Response():
                waits = self._h11.they_are_waiting_for_100_continue
                await self._send_response(request, answer, headers)
                if not waits:
                    await self._skip_body()
                return not waits
            case Stream():
                async with answer.held:
                    await self._send_stream(request, answer, headers)
                return not answer.close
            case Hijack():
                async with answer.held:
                    await self._hijack(answer, headers)
                return False

    def _head(self, headers: Mapping[str, str], content_type: str) -> list[tuple[str, str]]:
        head = [("Server", self._server), *headers.items()]
        return [*head, ("Content-Type", content_type)] if content_type else head

    def _begin(self, status: int, head: list[tuple[str, str]]) -> bytes:
        phrase = HTTPStatus(status).phrase
        return self._h11.send(h11.Response(status_code=status, headers=head, reason=phrase)) or b""

    async def _send_response(
        self, request: Request, answer: Response, headers: Mapping[str, str]
    ) -> None:
        has_body = answer.status not in (204, 304)
        head = self._head({**headers, **answer.headers}, answer.content_type if has_body else "")
        if has_body:
            head.append(("Content-Length", str(len(answer.body))))
        if self._h11.they_are_waiting_for_100_continue:
            head.append(("Connection", "close"))
        data = self._begin(answer.status, head)
        if has_body and request.method != "HEAD":
            data += self._h11.send(h11.Data(data=answer.body)) or b""
        await self._send_whole(data + (self._h11.send(h11.EndOfMessage()) or b""))

    async def _send_stream(
        self, request: Request, answer: Stream, headers: Mapping[str, str]
    ) -> None:
        head = self._head({**headers, **answer.headers}, answer.content_type)
        if answer.close:
            head.append(("Connection", "close"))
        head.append(("Transfer-Encoding", "chunked"))
        async with contextlib.aclosing(answer.body) as body:  # type: ignore[type-var]
            await self._skip_body()
            await self._send_whole(self._begin(200, head))
            if request.method != "HEAD":
                complete = False
                async with ended_by_hang_up(self._stream):
                    async for part in body:
                        if part:
                            await self._send(self._h11.send(h11.Data(data=part)))
                    complete = True
                if not complete:
                    raise Disconnected
        await self._send_whole(self._h11.send(h11.EndOfMessage()) or b"")

    async def _hijack(self, answer: Hijack, headers: Mapping[str, str]) -> None:
        await self._skip_body()
        head = self._head(headers, answer.content_type)
        if self._h11.their_state is h11.MIGHT_SWITCH_PROTOCOL:  # type: ignore[attr-defined]
            head += [("Connection", "Upgrade"), ("Upgrade", "tcp")]
            data = self._h11.send(_information(HTTPStatus.SWITCHING_PROTOCOLS, head))
        else:
            data = _plain_head(head)
        await self._send(data)  # a write of its own: clients lose what comes with the head
        await answer.run(self._stream, self._h11.trailing_data[0])

    async def _skip_body(self) -> None:
        """Read what is left of the request's body, so that the next request can follow."""
        if self._h11.their_state is not h11.SEND_BODY:
            return
        size = 0
        with trio.fail_after(BODY_S):
            while self._h11.their_state is h11.SEND_BODY:
                if self._h11.they_are_waiting_for_100_continue:
                    return
                event = await self._next_event()
                size += len(event.data) if isinstance(event, h11.Data) else 0
                if size > SKIPPED_BYTES:
                    raise Disconnected


class _Body:
    """The body of a request as it comes in. May be left half read, as a generator may not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        part = await self._connection.body_part()
        if part is None:
            raise StopAsyncIteration
        return part


def _information(
    status: HTTPStatus, head: list[tuple[str, str]] | None = None
) -> h11.InformationalResponse:
    return h11.InformationalResponse(status_code=status, headers=head or [], reason=status.phrase)


def _plain_head(headers: list[tuple[str, str]]) -> bytes:
    """The head of an answer that old clients take as the start of a raw stream."""
    lines = [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1")
