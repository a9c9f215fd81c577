"""exec, and what joins a terminal, over a fake daemon; with real terminals in tests/system."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import FakeDaemon

Captured = pytest.CaptureFixture[str]

EXEC_ID = "e" * 64


@pytest.fixture
def box(daemon: FakeDaemon) -> FakeDaemon:
    """A daemon with the container `box`, in which execs can be had."""
    daemon.api["POST /containers/box/exec"] = (201, {"Id": EXEC_ID})
    daemon.api[f"POST /exec/{EXEC_ID}/start"] = (200, b"")
    return daemon


def test_exec_detached_is_created_and_started(box: FakeDaemon, capsys: Captured) -> None:
    options = ["-d", "-e", "A=1", "-u", "bin", "-w", "/tmp", "--privileged"]
    assert box.ctl("exec", *options, "box", "sh", "-c", "true") == 0
    created, started = box.asked
    assert json.loads(created.body) == {
        "Cmd": ["sh", "-c", "true"],
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "ConsoleSize": None,
        "Env": ["A=1"],
        "User": "bin",
        "WorkingDir": "/tmp",
        "Privileged": True,
        "DetachKeys": "",
    }
    assert json.loads(started.body) == {"Detach": True, "Tty": False, "ConsoleSize": None}
    assert capsys.readouterr().out == ""


def test_options_after_the_command_are_the_commands(box: FakeDaemon) -> None:
    assert box.ctl("exec", "-d", "box", "ls", "-d", "--privileged") == 0
    assert json.loads(box.asked[0].body)["Cmd"] == ["ls", "-d", "--privileged"]


@pytest.mark.parametrize("verb", [["exec", "-it", "box", "sh"], ["run", "-it", "img"]])
def test_typing_needs_a_terminal(box: FakeDaemon, capsys: Captured, verb: list[str]) -> None:
    assert box.ctl(*verb) == 1
    assert "the input device is not a TTY" in capsys.readouterr().err
    assert box.asked == []


@pytest.mark.parametrize(
    "verb", [["exec", "--detach-keys", "up", "box", "sh"], ["run", "--detach-keys", "up", "img"]]
)
def test_the_name_of_no_key_is_refused(box: FakeDaemon, capsys: Captured, verb: list[str]) -> None:
    assert box.ctl(*verb) == 1
    assert "--detach-keys up: there is no key 'up'" in capsys.readouterr().err
    assert box.asked == []


def test_a_refusal_is_told(box: FakeDaemon, capsys: Captured) -> None:
    message = "Container box is paused, unpause the container before exec"
    box.api["POST /containers/box/exec"] = (409, {"message": message})
    assert box.ctl("exec", "box", "true") == 1
    assert capsys.readouterr().err == f"crechectl: error: {message}\n"
