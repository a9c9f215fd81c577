"""The Engine API over one connection that stays: the same client for every daemon."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode


class Api(http.client.HTTPConnection):
    """A connection to a daemon's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        upload: BinaryIO | None = None,
        **query: object,
    ) -> Any:
        """A request and the JSON of its answer, if it is JSON. Raises RuntimeError."""
        data = upload if upload is not None else json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"} if body else {}
        target = f"/v1.41{path}?{urlencode(query)}"
        self.request(method, target, data, headers, encode_chunked=True)
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text and path != "/images/create" else None

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
