"""The connection: what cannot be reached, is refused, or is lost ends in one line."""

from __future__ import annotations

import errno
import socket
import threading
from pathlib import Path

import pytest

from supervisor.cli.client import Client, socket_path, target_of
from supervisor.cli.errors import ApiError, CliError
from supervisor.cli.main import run
from tests.unit.cli.conftest import FakeDaemon

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("verb", "code"), [("status", 4), ("stop x", 7), ("ps", 1), ("run img", 125)]
)
def test_a_missing_socket_ends_as_the_verbs_family_has_it(
    tmp_path: Path, capsys: Captured, verb: str, code: int
) -> None:
    path = tmp_path / "nobody.sock"
    assert run(["-s", str(path), *verb.split()]) == code
    error = capsys.readouterr().err
    assert error.startswith(f"crechectl: error: cannot reach creched at {path}: no such file (")
    assert error.count("\n") == 1


def test_a_stale_socket_is_told_from_a_missing_one(tmp_path: Path, capsys: Captured) -> None:
    path = str(tmp_path / "stale.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    assert run(["-s", path, "stop", "x"]) == 4
    assert "nobody listens there" in capsys.readouterr().err


def test_the_socket_is_the_option_then_the_variable_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CRECHE_SOCKET", raising=False)
    assert socket_path(None) == "/run/creche/creche.sock"
    monkeypatch.setenv("CRECHE_SOCKET", "unix:///a/b")
    assert socket_path(None) == "/a/b"
    assert socket_path("/c") == "/c"
    with pytest.raises(CliError, match="only Unix sockets"):
        socket_path("tcp://host:1")


def test_a_query_repeats_lists_and_leaves_nothing_out_but_none() -> None:
    query = {"a": None, "b": True, "c": ["x y", "&"], "d": 0, "e": ""}
    assert target_of("/p", query) == "/p?b=1&c=x+y&c=%26&d=0&e="


def test_a_refusal_has_the_daemons_words(daemon: FakeDaemon) -> None:
    daemon.api["GET /x"] = (409, {"message": "it is in use"})
    with pytest.raises(ApiError, match="it is in use") as refused:
        Client(str(daemon.socket)).call("GET", "/x")
    assert refused.value.status == 409


def test_a_refusal_without_json_is_told_as_it_is(daemon: FakeDaemon) -> None:
    daemon.api["GET /x"] = (500, b"")
    with pytest.raises(ApiError, match="Internal Server Error"):
        Client(str(daemon.socket)).call("GET", "/x")


def _answer_once(path: Path, answer: bytes) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as sock:
            sock.recv(65536)
            sock.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_daemon_that_hangs_up_is_told(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "short.sock"
    thread = _answer_once(path, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[")
    assert run(["-s", str(path), "ps"]) == 1
    thread.join()
    assert "lost the connection to creched" in capsys.readouterr().err


def test_an_upgraded_connection_gives_what_follows_the_head(tmp_path: Path) -> None:
    path = tmp_path / "up.sock"
    head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    thread = _answer_once(path, head + b"abc")
    with Client(str(path)).upgrade("/x") as upgraded:
        assert (upgraded.read(2), upgraded.read(9)) == (b"ab", b"c")
    thread.join()


def test_a_refused_upgrade_has_the_daemons_words(tmp_path: Path) -> None:
    path = tmp_path / "no.sock"
    body = b'{"message":"No such container: x"}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body)
    thread = _answer_once(path, head + body)
    with pytest.raises(ApiError, match="No such container: x"), Client(str(path)).upgrade("/x"):
        pass
    thread.join()


def test_what_is_no_http_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ssh.sock"
    thread = _answer_once(path, b"SSH-2.0-x\r\n")
    with pytest.raises(CliError, match="is this creched's socket"), Client(str(path)).upgrade("/x"):
        pass
    thread.join()


def test_no_permission_says_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    class Refusing(socket.socket):
        connect = refuse

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(CliError, match="use sudo"):
        Client(str(tmp_path)).call("GET", "/x")
