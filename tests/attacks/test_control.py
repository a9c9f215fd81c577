"""Attacks on the control socket of a real daemon."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

import pytest

from supervisor.lifecycle import OOM_WATCH_AFTER_S
from tests.system.daemon import PATIENCE_S, Daemon
from tests.system.wire import ask, call

pytestmark = pytest.mark.same_everywhere

NOBODY = 65534


def still_works(daemon: Daemon) -> bool:
    return ask(daemon, "GET", "/_ping") == (200, b"OK")


@pytest.mark.parametrize(
    "name",
    [
        "supervisor.supervisord.options.warnings.linecache.os.system",
        "supervisor.__class__",
        "supervisor.__init__",
        "supervisor._start",
        "supervisor.getState.__call__",
        "supervisor.call",
        "supervisor.",
        "supervisor",
        "..",
        "__import__('os').system",
        "system.multicall.__globals__",
        "getState",
        "x" * 100_000,
    ],
)
def test_method_names_lead_nowhere_but_into_the_table(creched: Daemon, name: str) -> None:
    """ATTACKS 28 (CVE-2017-11610)."""
    with pytest.raises(xmlrpc.client.Fault) as fault:
        call(creched, name, "touch /tmp/owned")
    assert fault.value.faultCode == 1
    inner = [{"methodName": name, "params": ["touch /tmp/owned"]}]
    (result,) = call(creched, "system.multicall", inner)
    assert result["faultCode"] == 1
    assert not Path("/tmp/owned").exists()


def test_a_multicall_in_a_multicall_is_refused(creched: Daemon) -> None:
    """ATTACKS 28."""
    inner = [{"methodName": "system.multicall", "params": [[]]}]
    (result,) = call(creched, "system.multicall", inner)
    assert result["faultCode"] == 2


@pytest.mark.parametrize(
    "parameters",
    [
        (),
        ("x",),
        ([], []),
        ({},),
    ],
)
def test_a_multicall_of_nonsense_is_a_fault(creched: Daemon, parameters: tuple[Any, ...]) -> None:
    """ATTACKS 28."""
    with pytest.raises(xmlrpc.client.Fault) as fault:
        call(creched, "system.multicall", *parameters)
    assert fault.value.faultCode == 2


def test_one_wrong_call_of_several_is_a_fault_of_its_own(creched: Daemon) -> None:
    """ATTACKS 28."""
    state = "supervisor.getState"
    wrong: list[Any] = [
        3,
        {"methodName": state, "params": 3},
        {"methodName": 3},
        {"methodName": "supervisor.addProcessGroup", "params": ["nope"]},
    ]
    *faults, right = call(creched, "system.multicall", [*wrong, {"methodName": state}])
    assert [fault["faultCode"] for fault in faults] == [2, 2, 1, 10]
    assert right["statename"] == "RUNNING"


def test_there_is_no_abstract_socket(creched: Daemon) -> None:
    """ATTACKS 29 (CVE-2020-15257)."""
    creched.docker("run", "-d", "--name", "abstract", "busybox", "sleep", "100", check=True)
    assert creched.process is not None
    inodes = _sockets(creched.process.pid)
    for child in _children(creched.process.pid):
        inodes |= _sockets(child)
    assert inodes
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    ours = [row for row in rows if row[6] in inodes]
    assert ours
    assert not [row for row in ours if len(row) > 7 and row[7].startswith("@")]
    creched.docker("rm", "-f", "abstract", check=True)


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:"):
                found.add(target.partition("[")[2].rstrip("]"))
    return found


def _children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_directories_and_socket_are_private(creched: Daemon) -> None:
    """ATTACKS 30 (CVE-2024-25621)."""
    root = creched.directory / "root"
    assert root.stat().st_mode & 0o777 == 0o700
    for below in ("containers", "tmp", "storage/overlay"):
        assert (root / below).stat().st_mode & 0o077 == 0
    assert creched.socket.stat().st_mode & 0o777 == 0o600


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<methodCall><methodName>supervisor.getState</methodName><params><param><value>&c;</value></param>
</params></methodCall>"""


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        b"<methodCall>" * 20_000,
        b"<methodCall><methodName>supervisor.getState</methodName>",
        b"\xff\xfe<methodCall/>",
        b"<methodCall><methodName>\xff\xff</methodName></methodCall>",
        b"<methodResponse><params/></methodResponse>",
        b"<methodCall><methodName>a</methodName><params><param><value><i4>x</i4></value></param>"
        b"</params></methodCall>",
        b"",
    ],
)
def test_hostile_xml_is_refused_and_the_daemon_goes_on(creched: Daemon, body: bytes) -> None:
    """ATTACKS 32."""
    status, data = ask(creched, "POST", "/RPC2", body)
    assert status == 400, data
    assert still_works(creched)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not json", "invalid JSON"),
        (b'{"Image": 3}', "Expected `str`, got `int` - at `$.Image`"),
        (b'{"Image": "busybox", "Env": "A=1"}', "at `$.Env`"),
        (b'{"Image": "busybox", "HostConfig": {"Memory": "1g"}}', "at `$.HostConfig.Memory`"),
        (b'{"Image": "busybox", "HostConfig": {"Binds": [1]}}', "at `$.HostConfig.Binds[0]`"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"Image":' * 50_000, "invalid JSON"),
        (b'{"Image": "\xff\xfe"}', "invalid JSON"),
        (b'{"Image": "busybox", "Env": ["A=\xff"]}', "invalid JSON"),
        (b'{"Image": "busybox", "Labels": {"\\ud800": ""}}', "invalid JSON"),
        (b'{"Image": "busybox", "Cmd": ["a\\u0000b"]}', "NUL"),
        (b"{}", "no image was given"),
    ],
)
def test_a_body_that_is_wrong_is_a_400_that_names_the_field(
    creched: Daemon, body: bytes, said: str
) -> None:
    """ATTACKS 32."""
    status, data = ask(creched, "POST", "/containers/create", body)
    assert status == 400, data
    assert said in json.loads(data)["message"]
    assert still_works(creched)


@pytest.mark.parametrize("text", ["%FF%FE", "%ED%A0%80", "%00", "%5Cud800"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/containers/TEXT/json"),
        ("GET", "/images/TEXT/json"),
        ("GET", "/volumes/TEXT"),
        ("GET", '/containers/json?filters={"TEXT":["x"]}'),
        ("GET", '/containers/json?filters={"status":["TEXT"]}'),
        ("GET", '/images/json?filters={"before":["TEXT"]}'),
        ("GET", '/events?until=1&filters={"TEXT":["x"]}'),
        ("GET", "/events?since=TEXT"),
        ("POST", "/containers/prune?filters={%22TEXT%22:[]}"),
        ("POST", "/containers/create?name=TEXT"),
        ("POST", "/containers/none/kill?signal=TEXT"),
        ("POST", "/containers/none/wait?condition=TEXT"),
        ("POST", "/images/busybox/tag?repo=TEXT"),
        ("POST", "/images/create?fromSrc=-&repo=TEXT"),
        ("DELETE", "/images/TEXT"),
        ("GET", "/logtail/TEXT/stdout"),
    ],
)
def test_text_that_is_none_is_a_client_error(
    creched: Daemon, method: str, path: str, text: str
) -> None:
    """ATTACKS 32: invalid UTF-8, half a surrogate pair, NUL."""
    path = path.replace('"', "%22").replace("TEXT", text)
    status, data = ask(creched, method, path, b'{"Image": "busybox"}')
    assert 400 <= status < 500, data
    assert still_works(creched)


def test_bodies_and_headers_that_are_too_large_are_refused(creched: Daemon) -> None:
    """ATTACKS 31."""
    status, data = ask(creched, "POST", "/containers/create", b" " * (5 * 1024 * 1024))
    assert (status, b"larger than" in data) == (413, True)
    status, _ = ask(creched, "POST", "/RPC2", b" " * (2 * 1024 * 1024))
    assert status == 413
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE_S)
        raw.connect(str(creched.socket))
        raw.sendall(b"GET /_ping HTTP/1.1\r\nX: " + b"a" * 200_000)
        assert raw.recv(4096).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert still_works(creched)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /containers/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1.999999999999/info HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /containers/json?filters=%7B%22a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_broken_request_is_a_client_error(creched: Daemon, request_: bytes) -> None:
    """ATTACKS 31, 32."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE_S)
        raw.connect(str(creched.socket))
        raw.sendall(request_)
        assert raw.recv(4096).startswith(b"HTTP/1.1 4")
    assert still_works(creched)


def test_clients_that_come_and_go_leave_nothing(creched: Daemon) -> None:
    """ATTACKS 31: attach and drop, wait and drop."""
    creched.docker("run", "-d", "--name", "busy", "busybox", "sleep", "1000", check=True)
    assert creched.process is not None
    descriptors = Path(f"/proc/{creched.process.pid}/fd")
    time.sleep(2 * OOM_WATCH_AFTER_S)  # then the container has all that it will have
    before = len(os.listdir(descriptors))
    for _ in range(300):
        for path in ("attach?stream=1&stdout=1", "wait?condition=next-exit"):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(str(creched.socket))
                head = f"POST /containers/busy/{path} HTTP/1.1\r\nHost: x\r\n"
                raw.sendall(head.encode() + b"Upgrade: tcp\r\nContent-Length: 0\r\n\r\n")
    deadline = time.monotonic() + PATIENCE_S
    while len(os.listdir(descriptors)) > before:
        assert time.monotonic() < deadline, len(os.listdir(descriptors)) - before
        time.sleep(0.05)
    creched.docker("rm", "-f", "busy", check=True)


def test_a_peer_without_permission_gets_403_and_changes_nothing(fresh_creched: Daemon) -> None:
    """ATTACKS 33: even if the socket's own mode lets it connect."""
    for path in (fresh_creched.directory, fresh_creched.directory / "run"):
        path.chmod(0o755)
    fresh_creched.socket.chmod(0o666)
    script = """
import http.client, os, socket, sys
os.setgroups([]); os.setgid(NOBODY); os.setuid(NOBODY)
for method, path in (("GET", "/info"), ("POST", "/containers/create?name=evil"),
                     ("POST", "/RPC2"), ("DELETE", "/images/busybox")):
    c = http.client.HTTPConnection("x"); c.sock = socket.socket(socket.AF_UNIX)
    c.sock.connect(sys.argv[1])
    c.request(method, path, b'{"Image": "busybox"}')
    print(c.getresponse().status)
""".replace("NOBODY", str(NOBODY))
    done = subprocess.run(
        [sys.executable, "-c", script, str(fresh_creched.socket)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["403"] * 4
    assert fresh_creched.docker("ps", "-aq", check=True).stdout == ""
    assert "busybox" in fresh_creched.docker("images", check=True).stdout
