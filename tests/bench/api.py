"""The Engine API over one connection that stays: the same client for every daemon.

It takes little time itself, for that is measured as well: http.client needs half a millisecond
for what is done of a container here, which is as much as a daemon's own part of it.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

import httptools

_READ_BYTES = 64 * 1024


class _Answer:
    """One answer as it comes in; what llhttp tells."""

    def __init__(self) -> None:
        self.body = b""
        self.is_whole = False

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.is_whole = True


class Api:
    """A connection to a daemon's socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        upload: BinaryIO | None = None,
        **query: object,
    ) -> Any:
        """A request and the JSON of its answer, if it is JSON. Raises RuntimeError, OSError."""
        data = json.dumps(body).encode() if body else b""
        size = os.fstat(upload.fileno()).st_size if upload else len(data)
        head = f"{method} /v1.41{path}?{urlencode(query)} HTTP/1.1\r\nHost: localhost\r\n"
        head += "Content-Type: application/json\r\n" if body else ""
        self._socket.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode() + data)
        if upload:
            self._socket.sendfile(upload)
        status, text = self._receive()
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {text.decode()}")
        return json.loads(text) if text and path != "/images/create" else None

    def _receive(self) -> tuple[int, bytes]:
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.is_whole:
            received = self._socket.recv(_READ_BYTES)
            if not received:
                raise ConnectionResetError("the daemon has hung up")
            parser.feed_data(received)
        return parser.get_status_code(), answer.body

    def create(self, *argv: str, **host: object) -> str:
        """A container of the image `bench`, with a loopback-only network; its id."""
        config = {"NetworkMode": "none", **host}
        body = {"Image": "bench", "Cmd": list(argv), "HostConfig": config}
        return str(self.call("POST", "/containers/create", body)["Id"])

    def start(self, container_id: str) -> None:
        """Start it."""
        self.call("POST", f"/containers/{container_id}/start")

    def wait(self, container_id: str) -> int:
        """Its exit code, once it has ended."""
        return int(self.call("POST", f"/containers/{container_id}/wait")["StatusCode"])

    def remove(self, container_id: str) -> None:
        """Remove it, killing it if it runs."""
        self.call("DELETE", f"/containers/{container_id}", force=1)
