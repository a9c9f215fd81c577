"""HTTP/1.1 over a stream: requests one after the other, and an answer to each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

import trio

from supervisor.control.hangup import ended_by_hang_up
from supervisor.control.http import Answer, Hijack, Peer, Request, Response, Stream
from supervisor.control.message import BadRequest, Message

HEADER_S = 30.0  # for a request's head, once it has begun
IDLE_S = 300.0
BODY_S = 300.0  # without a byte of the body
SKIPPED_BYTES = 64 * 1024 * 1024  # of a body that nobody wants; a client that sends more is cut off
_HEAD_READ_BYTES = 16 * 1024
_BODY_READ_BYTES = 256 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Disconnected(Exception):
    """The client is gone, or is to be."""


class Connection:
    """One client's connection."""

    def __init__(self, stream: trio.SocketStream, peer: Peer, server: str) -> None:
        self._stream = stream
        self._peer = peer
        self._server = server
        self._unread = b""  # what has come and belongs to no message yet
        self._message = Message()  # the present one, or the last
        self._is_told_to_go_on = False

    async def next_request(self) -> Request | None:
        """The next request, or None when the client has closed or said nothing for too long.

        Raises BadRequest.
        """
        message = self._message = Message()
        self._is_told_to_go_on = False
        with trio.move_on_after(HEADER_S if self._unread else IDLE_S) as scope:
            while not message.has_head:
                data = self._unread or await self._receive(_HEAD_READ_BYTES)
                if not data:
                    if message.head_bytes:
                        raise BadRequest("the end of the connection in a head")
                    return None
                self._unread = message.feed_head(data)
                scope.deadline = min(scope.deadline, trio.current_time() + HEADER_S)
        return self._request(message) if message.has_head else None

    def _request(self, message: Message) -> Request:
        path, _, query = message.target.partition("?")
        return Request(
            method=message.method,
            path=unquote(path),
            query=parse_qs(query, keep_blank_values=True),
            headers=message.headers,
            peer=self._peer,
            body=_Body(self),
        )

    async def body_part(self) -> bytes | None:
        """What comes next of the present request's body; None at its end. Raises BadRequest."""
        message = self._message
        if self._waits_to_go_on:
            self._is_told_to_go_on = True
            await self._send_whole(_CONTINUE)
        while not message.has_end:
            data = self._unread
            if not data:
                with trio.fail_after(BODY_S):
                    data = await self._receive(_BODY_READ_BYTES)
            if not data:
                raise BadRequest("the end of the connection in a body")
            part, self._unread = message.feed_body(data)
            if part:
                return part
        return None

    @property
    def _waits_to_go_on(self) -> bool:
        """Whether the client sends nothing of its body before it is told to."""
        return self._message.expects_to_go_on and not self._is_told_to_go_on and not self._unread

    async def _receive(self, most: int) -> bytes:
        """What there is, or comes next; nothing at the end."""
        sock = self._stream.socket
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                return os.read(sock.fileno(), most)
            except BlockingIOError:
                continue
            except OSError as error:
                raise Disconnected from error

    async def _send(self, data: bytes) -> None:
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
                waits = self._waits_to_go_on
                await self._send_response(request, answer, headers, close=waits)
                if not waits:
                    await self._skip_body()
                return not waits and self._message.keeps_connection
            case Stream():
                async with answer.held:
                    await self._send_stream(request, answer, headers)
                message = self._message
                is_delimited = message.takes_chunks and message.has_end
                return not answer.close and is_delimited and message.keeps_connection
            case Hijack():
                async with answer.held:
                    await self._hijack(answer, headers)
                return False

    def _head(self, status: int, headers: Mapping[str, str], *, close: bool = False) -> bytes:
        """The head of an answer. Raises ValueError for a header that would be two."""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Server: {self._server}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if (close or not self._message.keeps_connection) and "Connection" not in headers:
            lines.append("Connection: close")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError(f"a line break in a header of {headers}")
        return f"{text}\r\n\r\n".encode("latin-1")

    async def _send_response(
        self, request: Request, answer: Response, headers: Mapping[str, str], *, close: bool
    ) -> None:
        has_body = answer.status not in (204, 304)
        head = {**headers, **answer.headers}
        if has_body:
            head |= {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))}
        data = self._head(answer.status, head, close=close)
        if has_body and request.method != "HEAD":
            data += answer.body
        await self._send_whole(data)

    async def _send_stream(
        self, request: Request, answer: Stream, headers: Mapping[str, str]
    ) -> None:
        chunked = self._message.takes_chunks
        head = {**headers, **answer.headers, "Content-Type": answer.content_type}
        if chunked:
            head["Transfer-Encoding"] = "chunked"
        async with contextlib.aclosing(answer.body) as body:  # type: ignore[type-var]
            await self._skip_body()
            await self._send_whole(self._head(200, head, close=answer.close or not chunked))
            if request.method == "HEAD":
                return
            ending = b"0\r\n\r\n" if chunked else b""
            complete = False
            async with ended_by_hang_up(self._stream):
                async for part in body:
                    data = b"%x\r\n%b\r\n" % (len(part), part) if chunked and part else part
                    if answer.is_one_piece:  # its client waits for the end, too
                        await self._send_whole(data + ending)
                        ending = b""
                    else:
                        await self._send(data)
                complete = True
            if not complete:
                raise Disconnected
        if ending:
            await self._send_whole(ending)

    async def _hijack(self, answer: Hijack, headers: Mapping[str, str]) -> None:
        await self._skip_body()
        head = {**headers, "Content-Type": answer.content_type}
        if self._message.wants_upgrade:
            data = self._head(101, {**head, "Connection": "Upgrade", "Upgrade": "tcp"})
        else:  # old clients take it as the start of a raw stream
            data = self._head(200, head)
        await self._send_whole(data)  # a write of its own: clients lose what comes with the head
        unread, self._unread = self._unread, b""
        await answer.run(self._stream, unread)

    async def _skip_body(self) -> None:
        """Read what is left of the request's body, so that the next request can follow."""
        if self._message.has_end:
            return
        size = 0
        with trio.fail_after(BODY_S):
            while not self._message.has_end and not self._waits_to_go_on:
                size += len(await self.body_part() or b"")
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
