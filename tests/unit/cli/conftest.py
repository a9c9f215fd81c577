"""A daemon for the client: answers from tables, and keeps what it was asked."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xmlrpc.client import Fault, dumps, loads

import pytest

from supervisor.cli.main import run


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes


@dataclass
class FakeDaemon:
    """What it answers: `api` by method and path, `calls` by the name of an XML-RPC method."""

    socket: Path
    api: dict[str, tuple[int, object]] = field(default_factory=dict)
    calls: dict[str, object] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    called: list[tuple[Any, ...]] = field(default_factory=list)

    def ctl(self, *arguments: str) -> int:
        """Run crechectl; the exit code."""
        return run(["--socket", str(self.socket), *arguments])

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        if asked.path == "/RPC2":
            return 200, self._answer_call(asked.body)
        if asked.path.startswith("/logtail/"):
            return 200, b"tail\n"
        status, value = self.api.get(f"{asked.method} {asked.path}", (404, {"message": "nothing"}))
        return status, value if isinstance(value, bytes) else json.dumps(value).encode()

    def _answer_call(self, body: bytes) -> bytes:
        parameters, method = loads(body)
        name = str(method).removeprefix("supervisor.")
        self.called.append((name, *parameters))
        value = self.calls[name]
        if callable(value):
            value = value(*parameters)
        if isinstance(value, Fault):
            return dumps(value, methodresponse=True).encode()
        return dumps((value,), methodresponse=True).encode()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = True


def _handler(daemon: FakeDaemon) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self) -> None:
            target = urlsplit(self.path)
            query = parse_qs(target.query, keep_blank_values=True)
            asked = Asked(self.command, target.path, query, self._body())
            daemon.asked.append(asked)
            status, body = daemon.answer(asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if body:  # without one the client may be gone already
                self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    return Handler


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A fake daemon that listens."""
    fake = FakeDaemon(tmp_path / "creche.sock")
    with _Server(str(fake.socket), _handler(fake)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


@pytest.fixture
def process() -> Callable[..., dict[str, Any]]:
    """Makes getProcessInfo's structs."""

    def make(name: str, group: str = "", state: int = 20, **more: object) -> dict[str, Any]:
        words = {0: "STOPPED", 20: "RUNNING", 100: "EXITED", 200: "FATAL"}
        made = {
            "name": name,
            "group": group or name,
            "state": state,
            "statename": words[state],
            "description": "pid 7, uptime 0:00:01" if state == 20 else "",
            "pid": 7 if state == 20 else 0,
        }
        return {**made, **more}

    return make
