"""`docker exec` and `crechectl exec` without a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.daemon import REPOSITORY, Daemon, docker_binaries


@pytest.fixture
def box(creched: Daemon) -> Iterator[str]:
    """A container that runs, with a user, a directory and a variable of its own."""
    options = ["-d", "--name", "box", "-u", "alice", "-w", "/tmp", "-e", "A=1", "-e", "B=2"]
    creched.docker("run", *options, "busybox", "sleep", "1000", check=True)
    yield "box"
    creched.docker("rm", "-f", "box", check=True)


def inspect(creched: Daemon, name: str) -> Any:
    return json.loads(creched.docker("inspect", name, check=True).stdout)[0]


@pytest.mark.parametrize("binary", docker_binaries())
@pytest.mark.parametrize("api", ["", "1.24", "1.41"])
def test_both_streams_and_the_exit_code_reach_old_and_new_clients(
    creched: Daemon, box: str, binary: str, api: str
) -> None:
    command = ["exec", box, "sh", "-c", "echo out; echo err >&2; exit 7"]
    done = creched.docker(*command, binary=binary, api=api)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_crechectl_has_the_same(creched: Daemon, box: str) -> None:
    done = creched.crechectl("exec", box, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    fed = creched.crechectl("exec", "-i", box, "cat", input="text")
    assert fed.stdout == "text"


def test_standard_input_is_passed_on_to_its_end(creched: Daemon, box: str) -> None:
    text = "line\n" * 50_000
    assert creched.docker("exec", "-i", box, "cat", input=text, check=True).stdout == text


def test_a_large_output_arrives_whole(creched: Daemon, box: str) -> None:
    size = 64 * 1024 * 1024
    done = creched.docker("exec", box, "head", "-c", str(size), "/dev/zero", check=True)
    assert len(done.stdout) == size


def test_it_is_in_the_container_with_what_the_container_has(creched: Daemon, box: str) -> None:
    script = "id -u; pwd; echo $A $B; hostname; cat /proc/1/cmdline | tr '\\0' ' '"
    words = creched.docker("exec", box, "sh", "-c", script, check=True).stdout.split()
    assert words == ["1000", "/tmp", "1", "2", inspect(creched, box)["Id"][:12], "sleep", "1000"]


def test_user_directory_and_variables_may_be_others(creched: Daemon, box: str) -> None:
    options = ["-u", "0:0", "-w", "/etc", "-e", "A=9", "-e", "C=3"]
    script = "id -u; id -g; pwd; echo $A $B $C"
    for run in (creched.docker, creched.crechectl):
        done = run("exec", *options, box, "sh", "-c", script, check=True)
        assert done.stdout.split() == ["0", "0", "/etc", "9", "2", "3"]


def test_privileged_has_every_capability_or_is_refused(creched: Daemon, box: str) -> None:
    done = creched.docker(
        "exec", "-u", "0", "--privileged", box, "grep", "Cap", "/proc/self/status"
    )
    every = (1 << int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1) - 1
    if _capabilities(Path("/proc/self/status").read_text())["CapBnd"] == every:
        assert _capabilities(done.stdout)["CapEff"] == every
    else:  # a host that itself has not all, as Docker cannot give them there either
        assert (done.returncode, done.stdout) == (126, "set capabilities: EPERM\n")


def _capabilities(status: str) -> dict[str, int]:
    lines = [line.split(":") for line in status.splitlines() if line.startswith("Cap")]
    return {name: int(value, 16) for name, value in lines}


def test_detached_it_goes_on_by_itself(creched: Daemon, box: str) -> None:
    done = creched.docker("exec", "-d", box, "sh", "-c", "sleep 0.3; touch /tmp/done; sleep 1000")
    assert (done.stdout, done.returncode) == ("", 0)
    end = time.monotonic() + 20
    while creched.docker("exec", box, "test", "-e", "/tmp/done").returncode:
        assert time.monotonic() < end
    assert len(inspect(creched, box)["ExecIDs"]) == 1


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["nope"], 127, 'exec: "nope": executable file not found in $PATH'),
        (["/nope"], 127, "no such file or directory"),
        (["/etc/passwd"], 126, "permission denied"),
    ],
)
def test_a_command_that_cannot_be_run_ends_with_127_or_126(
    creched: Daemon, box: str, command: list[str], code: int, words: str
) -> None:
    for run in (creched.docker, creched.crechectl):
        done = run("exec", box, *command)
        assert done.returncode == code
        assert words in done.stdout
    detached = creched.docker("exec", "-d", box, *command)
    assert detached.returncode != 0
    assert words in detached.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-u", "nobody-here"], "unable to find user nobody-here"),
        (["-w", "relative"], "needs to be an absolute path"),
        (["--detach-keys", "ctrl-1"], "Invalid escape keys (ctrl-1) provided"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    creched: Daemon, box: str, options: list[str], words: str
) -> None:
    done = creched.docker("exec", *options, box, "true")
    assert done.returncode != 0
    assert words in done.stdout + done.stderr


def test_it_ends_with_its_container(creched: Daemon, box: str) -> None:
    process = _started(creched, "exec", box, "sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"up\n"
        creched.docker("kill", box, check=True)
        assert output.read() == b""
    assert process.wait(30) == 137


def test_it_goes_on_without_its_client(creched: Daemon, box: str) -> None:
    process = _started(creched, "exec", box, "sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"up\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(inspect(creched, box)["ExecIDs"]) == 1


def _started(creched: Daemon, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "supervisor.cli.main", "-s", str(creched.socket), *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)


def test_what_it_leaves_behind_does_not_keep_the_client(creched: Daemon, box: str) -> None:
    done = creched.docker("exec", box, "sh", "-c", "sleep 1000 & echo done")
    assert (done.stdout, done.returncode) == ("done\n", 0)


def test_where_there_is_no_exec_docker_says_so(creched: Daemon, box: str) -> None:
    creched.docker("stop", "-t", "0", box, check=True)
    done = creched.docker("exec", box, "true")
    assert done.returncode == 1
    assert f"Container {inspect(creched, box)['Id']} is not running" in done.stderr


def test_events_tell_of_its_life(creched: Daemon, box: str) -> None:
    since = str(time.time())
    creched.docker("exec", box, "sh", "-c", "exit 3")
    shown = creched.docker(
        *("events", "--since", since, "--until", str(time.time() + 0.5)),
        *("--filter", "container=box", "--format", "{{json .}}"),
        check=True,
    ).stdout
    events = [json.loads(line) for line in shown.splitlines()]
    assert [e["Action"] for e in events] == [
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
    ]
    assert events[-1]["Actor"]["Attributes"]["exitCode"] == "3"
    assert len({e["Actor"]["Attributes"]["execID"] for e in events}) == 1


def test_many_at_once_each_have_their_own(creched: Daemon, box: str) -> None:
    processes = [_started(creched, "exec", box, "sh", "-c", f"exit {n}") for n in range(8)]
    for number, process in enumerate(processes):
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == number
