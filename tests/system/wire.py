"""The daemon's socket without a client: HTTP and XML-RPC as they are, and no process to start."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from typing import Any

from tests.system.daemon import PATIENCE_S, Daemon


class Connection(http.client.HTTPConnection):
    """HTTP over the daemon's socket."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = str(daemon.socket)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self._path)


def ask(
    daemon: Daemon, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    connection = Connection(daemon)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data


def call(daemon: Daemon, name: str, *parameters: Any) -> Any:
    """The result of an XML-RPC call; a fault is raised."""
    body = xmlrpc.client.dumps(parameters, name).encode()
    status, data = ask(daemon, "POST", "/RPC2", body)
    assert status == 200
    return xmlrpc.client.loads(data)[0][0]


def update(daemon: Daemon) -> None:
    """Apply the unit files by the calls of supervisorctl's `update`, without starting it."""
    [[added, changed, removed]] = call(daemon, "supervisor.reloadConfig")
    for name in (*changed, *removed):
        call(daemon, "supervisor.stopProcessGroup", name)
        call(daemon, "supervisor.removeProcessGroup", name)
    for name in (*changed, *added):
        call(daemon, "supervisor.addProcessGroup", name)
