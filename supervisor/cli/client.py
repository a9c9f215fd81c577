"""Talking to the daemon's socket: the Engine API as JSON, and supervisor's XML-RPC."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import urlencode

API = "/v1.50"


class ClientError(Exception):
    """What the person is told, on one line; `exit_code` is how the program ends."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ApiError(ClientError):
    """The daemon refused; `status` is HTTP's."""

    def __init__(self, status: int, message: str, exit_code: int = 1) -> None:
        super().__init__(message, exit_code)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(self._path)
        except FileNotFoundError:
            raise ClientError(
                f"cannot reach creched at {self._path}: no such file "
                "(start it with `creched`, or name its socket with --socket)",
                7,
            ) from None
        except ConnectionRefusedError:
            raise ClientError(
                f"cannot reach creched at {self._path}: nobody listens there (start it with "
                "`creched`)",
                4,
            ) from None
        except PermissionError:
            raise ClientError(
                f"cannot reach creched at {self._path}: permission denied (try sudo)"
            ) from None


class Client:
    """One daemon."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path.removeprefix("unix://")

    def open(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: bytes | IO[bytes] | None = None,
        content_type: str = "application/json",
    ) -> http.client.HTTPResponse:
        """Send a request; the answer, its body not read yet. Raises ApiError, ClientError."""
        connection = _Connection(self._path)
        wanted = {k: v for k, v in (query or {}).items() if v not in (None, "", False)}
        target = f"{path}?{urlencode(wanted, doseq=True)}" if wanted else path
        headers = {"Content-Type": content_type} if body is not None else {}
        try:
            connection.request(method, target, body, headers, encode_chunked=True)
            answer = connection.getresponse()
        except (ConnectionError, http.client.HTTPException) as error:
            raise ClientError(f"creched closed the connection: {error}") from error
        if answer.status >= 400:
            raise ApiError(answer.status, _message(answer.read()))
        return answer

    def call(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None
    ) -> Any:
        """Send a request of the Engine API; the JSON that is answered, or None."""
        data = None if body is None else json.dumps(body).encode()
        raw = self.open(method, API + path, query, data).read()
        return json.loads(raw) if raw.strip() else None

    def lines(self, path: str, query: dict[str, Any] | None = None) -> Iterator[Any]:
        """JSON values as they come, one a line."""
        with self.open("GET", API + path, query) as answer:
            for line in answer:
                yield json.loads(line)

    def rpc(self, method: str, *parameters: Any) -> Any:
        """Call supervisor's XML-RPC. Raises xmlrpc.client.Fault."""
        import xmlrpc.client

        body = xmlrpc.client.dumps(parameters, f"supervisor.{method}").encode()
        raw = self.open("POST", "/RPC2", None, body, "text/xml").read()
        return xmlrpc.client.loads(raw)[0][0]

    def hijack(self, path: str, query: dict[str, Any]) -> tuple[socket.socket, bytes]:
        """Turn a request into a raw stream; the socket, and what has come already."""
        connection = _Connection(self._path)
        connection.connect()
        target = f"{API}{path}?{urlencode(query)}"
        head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\n"
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        sock: socket.socket = connection.sock
        sock.sendall(head.encode())
        received = b""
        while b"\r\n\r\n" not in received:
            data = sock.recv(4096)
            if not data:
                raise ClientError("creched closed the connection", 125)
            received += data
        answered, _, rest = received.partition(b"\r\n\r\n")
        status = int(answered.split(None, 2)[1])
        if status != 101:
            raise ApiError(status, _message(rest), 125)
        return sock, rest


def _message(raw: bytes) -> str:
    """The words of an error's body."""
    try:
        return str(json.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        return raw.decode(errors="replace").strip()
