"""Terminals by the real docker client and by crechectl, each on a terminal of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator

import pytest

from drivers.kernel.terminal import window_size
from tests.system.daemon import REPOSITORY, Daemon, docker_binaries
from tests.system.terminal import Terminal

pytestmark = pytest.mark.same_everywhere

CTRL_P_CTRL_Q = "\x10\x11"
CLIENTS = [*docker_binaries(), "crechectl"]

At = Callable[..., Terminal]


@pytest.fixture(params=CLIENTS)
def at(request: pytest.FixtureRequest, creched: Daemon) -> Iterator[At]:
    """Starts a client on a terminal; `term` is a container's name, free before and after."""

    def start(*arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
        environment = {**os.environ, "DOCKER_HOST": f"unix://{creched.socket}"}
        environment["PYTHONPATH"] = str(REPOSITORY)
        command = [request.param]
        if request.param == "crechectl":
            command = [sys.executable, "-m", "supervisor.cli.main", "-s", str(creched.socket)]
        return Terminal([*command, *arguments], environment, rows=rows, columns=columns)

    yield start
    creched.docker("rm", "-f", "term")


def run(at: At, *options: str, **size: int) -> Terminal:
    return at("run", "-it", "--name", "term", *options, "busybox", "sh", **size)


def is_running(creched: Daemon) -> bool:
    shown = creched.docker("inspect", "-f", "{{.State.Running}}", "term", check=True)
    return shown.stdout == "true\n"


def test_a_shell_has_the_clients_size_and_follows_it(at: At) -> None:
    with run(at, rows=31, columns=91) as terminal:
        terminal.until("# ")
        terminal.type("stty size\r")
        terminal.until("31 91\r\n")
        terminal.resize(40, 101)
        terminal.type("while [ \"$(stty size)\" != '40 101' ]; do :; done; echo grown up\r")
        terminal.until("\r\ngrown up\r\n")
        terminal.type("exit 3\r")
        assert terminal.end()[0] == 3


def test_control_c_is_for_the_program(at: At) -> None:
    with run(at) as terminal:
        terminal.until("# ")
        terminal.type("sh -c 'echo up; exec sleep 1000'\r")
        terminal.until("\r\nup\r\n")  # until then the key would be the line editor's
        terminal.type("\x03")
        terminal.until("# ")
        terminal.type("test -t 0 && test -t 2 && echo still $TERM\r")
        terminal.until("\r\nstill xterm\r\n")


def test_the_keys_leave_a_container_that_goes_on(creched: Daemon, at: At) -> None:
    with run(at) as terminal:
        terminal.until("# ")
        terminal.type("cd /tmp\r")
        terminal.until("/tmp # ")
        terminal.type(CTRL_P_CTRL_Q)
        assert terminal.end()[0] == 0
    assert is_running(creched)
    with at("attach", "--detach-keys", "ctrl-a,d", "term") as terminal:
        terminal.until("/tmp # ")
        terminal.type("echo b\x08ack\r")
        terminal.until("\r\nack\r\n")
        terminal.type("\x01d")
        code, shown = terminal.end()
        assert code == 1
        assert "read escape sequence" in shown
    with at("attach", "term") as terminal:
        terminal.until("/tmp # ")
        terminal.type("exit 4\r")
        assert terminal.end()[0] == 4


@pytest.mark.parametrize("at", ["crechectl"], indirect=True)
@pytest.mark.parametrize("ending", ["exit\r", CTRL_P_CTRL_Q, signal.SIGTERM, signal.SIGHUP])
def test_our_terminal_is_as_it_was_however_crechectl_ends(
    creched: Daemon, at: At, ending: str | signal.Signals
) -> None:
    with run(at) as terminal:
        before = termios.tcgetattr(terminal.fd)
        terminal.until("# ")
        assert termios.tcgetattr(terminal.fd) != before
        if isinstance(ending, str):
            terminal.type(ending)
        else:
            terminal.process.send_signal(ending)
        terminal.process.wait(30)
        assert termios.tcgetattr(terminal.fd) == before


def test_an_exec_has_a_terminal_of_its_own(creched: Daemon, at: At) -> None:
    creched.docker("run", "-dit", "--name", "term", "busybox", "sh", check=True)
    with at("exec", "-it", "term", "sh", rows=20, columns=70) as terminal:
        terminal.until("# ")
        for rows, columns in ((20, 70), (41, 102)):
            terminal.resize(rows, columns)
            wait = f"while [ \"$(stty size)\" != '{rows} {columns}' ]; do :; done"
            terminal.type(f"{wait}; echo $TERM {rows}\r")  # old clients tell it after the start
            terminal.until(f"\r\nxterm {rows}\r\n")
        terminal.type("exit 7\r")
        assert terminal.end()[0] == 7
    with at("exec", "-it", "term", "sh") as terminal:
        terminal.until("# ")
        terminal.type(CTRL_P_CTRL_Q)
        code, shown = terminal.end()
        assert code == 1
        assert "read escape sequence" in shown
    assert is_running(creched)


def test_a_terminal_alone_shows_and_takes_nothing(creched: Daemon, at: At) -> None:
    with at("run", "-t", "--name", "term", "busybox", "sh", "-c", "tty; exit 2") as terminal:
        code, shown = terminal.end()
        assert code == 2
        assert "/dev/" in shown
    logged = creched.docker("logs", "term", check=True)
    assert logged.stdout.startswith("/dev/")
    assert logged.stderr == ""


def test_a_terminal_works_for_a_client_that_has_none(creched: Daemon) -> None:
    done = creched.docker("run", "--rm", "-t", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout.split(), done.stderr, done.returncode) == (["out", "err"], "", 0)
    for client in (creched.docker, creched.crechectl):
        refused = client("run", "--rm", "-it", "busybox", "true")
        assert refused.returncode == 1
        assert "the input device is not a TTY" in refused.stderr
    assert creched.docker("ps", "-aq", check=True).stdout == ""


def test_much_output_arrives_whole_and_in_order(creched: Daemon) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
    done = creched.docker("run", "--rm", "-t", "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split() == [str(number) for number in range(20000)]


def test_a_program_that_opens_its_terminal_again_goes_on(creched: Daemon) -> None:
    script = (
        "echo one; t=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.3; exec >$t 2>&1; echo two"
    )
    done = creched.docker("run", "--rm", "-t", "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split() == ["one", "two"]


def test_the_helper_and_the_kernel_agree_on_the_size() -> None:
    with Terminal(["cat"], {"PATH": os.environ["PATH"]}, rows=5, columns=6) as terminal:
        assert window_size(terminal.fd) == (5, 6)
        terminal.type("x\r")
        terminal.until("x\r\nx\r\n")
        assert isinstance(terminal.process, subprocess.Popen)
