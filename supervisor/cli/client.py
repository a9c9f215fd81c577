"""Talks to the daemon's socket: the Docker Engine API, and supervisor's XML-RPC."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from supervisor.cli.errors import ApiError, CliError, Unreachable

DEFAULT_SOCKET = "/run/creche/creche.sock"
_LINE_BYTES = 65536

Query = Mapping[str, object]


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = connect(self._path)


def connect(path: str) -> socket.socket:
    """A connected socket. Raises Unreachable."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise Unreachable(path, error) from error
    return sock


def socket_path(given: str | None) -> str:
    """The socket's path: the option, else CRECHE_SOCKET, else the default; a unix:// URL too."""
    text = given or os.environ.get("CRECHE_SOCKET") or DEFAULT_SOCKET
    path = text.removeprefix("unix://")
    if "://" in path:
        raise CliError(f"{text}: only Unix sockets are supported (/path or unix:///path)")
    return path


def target_of(path: str, query: Query | None) -> str:
    """A request target; values of None are left out, lists repeat, booleans are 0 and 1."""
    pairs: list[tuple[str, str]] = []
    for name, value in (query or {}).items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                pairs.append((name, str(int(item)) if isinstance(item, bool) else str(item)))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def part(ref: str) -> str:
    """A name or id as one part of a path."""
    return quote(ref, safe="")


def image_part(ref: str) -> str:
    """An image reference as the rest of a path."""
    return quote(ref, safe="/:@")


class Upgraded:
    """A connection that has become a stream: the container's output in, its input out."""

    def __init__(self, sock: socket.socket, reader: io.BufferedReader) -> None:
        self._sock = sock
        self._reader = reader

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        return self._reader.read(size)

    def read_some(self, size: int) -> bytes:
        """What comes next, at most `size` bytes; nothing at the end."""
        return self._reader.read1(size)

    def send(self, data: bytes) -> None:
        """Pass bytes to the container's standard input."""
        self._sock.sendall(data)

    def end_input(self) -> None:
        """Close the container's standard input; output goes on."""
        with contextlib.suppress(OSError):  # the container may have ended first
            self._sock.shutdown(socket.SHUT_WR)


class Client:
    """The daemon at a socket. Every call is a connection of its own."""

    def __init__(self, path: str) -> None:
        self.path = path

    def call(self, method: str, path: str, query: Query | None = None, body: object = None) -> Any:
        """A request and the JSON of its answer, None if it has no body. Raises ApiError."""
        data = None if body is None else json.dumps(body).encode()
        with self.stream(method, path, query, data, "application/json") as response:
            text = response.read()
        return json.loads(text) if text else None

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | Iterable[bytes] | None = None,
        content_type: str = "application/x-tar",
    ) -> Iterator[http.client.HTTPResponse]:
        """A request and its answer, to be read as it comes. Raises ApiError."""
        connection = _UnixConnection(self.path)
        with contextlib.closing(connection):
            headers = {} if body is None else {"Content-Type": content_type}
            with _told_when_lost(self.path):
                # a daemon that refuses an upload answers before it has read all of it
                with contextlib.suppress(BrokenPipeError):
                    connection.request(method, target_of(path, query), body, headers)
                response = connection.getresponse()
            with _told_when_lost(self.path), response:
                if response.status >= 400:
                    raise ApiError(response.status, _message(response.read(), response.status))
                yield response

    @contextlib.contextmanager
    def upgrade(
        self, path: str, query: Query | None = None, body: object = None
    ) -> Iterator[Upgraded]:
        """POST, and turn the connection into a stream. Raises ApiError."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST {target_of(path, query)} HTTP/1.1\r\nHost: localhost\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        with connect(self.path) as sock, sock.makefile("rb") as reader:
            with _told_when_lost(self.path):
                sock.sendall(head.encode("ascii") + data)
                status = _status_of(reader.readline(_LINE_BYTES))
                headers = http.client.parse_headers(reader)
                if status != 101:
                    text = reader.read(int(headers.get("Content-Length") or 0))
                    raise ApiError(status, _message(text, status))
            yield Upgraded(sock, reader)

    def rpc(self, method: str, *parameters: object) -> Any:
        """A call of supervisor's API. Raises xmlrpc.client.Fault."""
        from xmlrpc.client import dumps, loads

        data = dumps(parameters, f"supervisor.{method}").encode()  # type: ignore[arg-type]
        with self.stream("POST", "/RPC2", body=data, content_type="text/xml") as response:
            values, _ = loads(response.read())
        return values[0]


@contextlib.contextmanager
def _told_when_lost(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # of our own output
    except (ConnectionError, http.client.HTTPException) as error:
        raise CliError(
            f"lost the connection to creched at {path} (it may have ended: see its own log)"
        ) from error


def _status_of(line: bytes) -> int:
    try:
        return int(line.split(None, 2)[1])
    except (IndexError, ValueError) as error:
        raise CliError(f"no HTTP answer, but {line[:40]!r} (is this creched's socket?)") from error


def _message(text: bytes, status: int) -> str:
    """What the daemon says, or the status if it says nothing that can be read."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace").strip() or http.client.responses.get(status, "refused")
