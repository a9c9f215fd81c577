"""Hostile clients of exec."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from supervisor.lifecycle import OOM_WATCH_AFTER_S
from tests.system.daemon import Daemon

ROUNDS = 150


def _post(raw: socket.socket, path: str, body: object, *, upgrade: bool = False) -> None:
    data = json.dumps(body).encode()
    more = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n{more}\r\n"
    raw.sendall(head.encode() + data)


def _create(creched: Daemon, **fields: object) -> str:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(creched.socket))
        _post(raw, "/containers/busy/exec", {"Cmd": ["cat"], "AttachStdin": True, **fields})
        answer = raw.recv(65536)
        assert answer.startswith(b"HTTP/1.1 201"), answer
        return str(json.loads(answer.partition(b"\r\n\r\n")[2])["Id"])


def test_execs_that_are_started_and_dropped_leave_nothing(creched: Daemon) -> None:
    """ATTACKS 31: with the answer read or not, started or not, with output nobody reads."""
    creched.docker("run", "-d", "--name", "busy", "busybox", "sleep", "1000", check=True)
    assert creched.process is not None
    descriptors = Path(f"/proc/{creched.process.pid}/fd")
    time.sleep(2 * OOM_WATCH_AFTER_S)  # then the container has all that it will have
    before = len(os.listdir(descriptors))
    for turn in range(ROUNDS):
        flood = {"Cmd": ["head", "-c", "3000000", "/dev/zero"], "AttachStdout": True}
        exec_id = _create(creched, **(flood if turn % 3 == 0 else {}))
        if turn % 5 == 0:
            continue
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(creched.socket))
            _post(raw, f"/exec/{exec_id}/start", {}, upgrade=turn % 2 == 0)
            if turn % 4:
                assert raw.recv(20).startswith(b"HTTP/1.1 ")
    deadline = time.monotonic() + 30
    while True:
        left = len(os.listdir(descriptors)) - before
        running = creched.docker("top", "busy", check=True).stdout.splitlines()[1:]
        if left <= 0 and len(running) == 1:
            break
        assert time.monotonic() < deadline, (left, running)
        time.sleep(0.1)
    assert creched.docker("exec", "busy", "echo", "works", check=True).stdout == "works\n"
    creched.docker("rm", "-f", "busy", check=True)
