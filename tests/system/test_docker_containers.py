"""Containers through their life, by the real docker client."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.system.daemon import PATIENCE_S, Daemon, docker_binaries
from tests.system.docker import field


def until(creched: Daemon, name: str, path: str, value: str) -> None:
    """Wait for a field of inspect; the daemon's own events tell of changes only while asked."""
    end = time.monotonic() + PATIENCE_S
    while (found := field(creched, name, path)) != value:
        assert time.monotonic() < end, f"{path} is {found}, not {value}"
        time.sleep(0.05)


def test_create_start_stop_and_start_again(creched: Daemon, name: str) -> None:
    creched.docker("create", "--name", name, "busybox", "sleep", "100", check=True)
    assert field(creched, name, ".State.Status") == "created"
    creched.docker("start", name, check=True)
    assert field(creched, name, ".State.Running") == "true"
    creched.docker("stop", "-t", "0", name, check=True)
    assert field(creched, name, ".State.Status") == "exited"
    assert field(creched, name, ".State.ExitCode") == "137"
    creched.docker("start", name, check=True)
    assert field(creched, name, ".State.Status") == "running"


def test_stop_sends_the_stop_signal_and_waits_for_the_end(creched: Daemon, name: str) -> None:
    script = "trap 'echo asked; exit 5' INT; echo up; while :; do sleep 0.1; done"
    creched.docker(
        "run",
        "-d",
        "--name",
        name,
        "--stop-signal",
        "INT",
        "busybox",
        "sh",
        "-c",
        script,
        check=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while "up" not in creched.docker("logs", name).stdout:
        assert time.monotonic() < deadline
    creched.docker("stop", name, check=True)
    assert field(creched, name, ".State.ExitCode") == "5"
    assert "asked" in creched.docker("logs", name).stdout


def test_the_restart_policy_starts_again_and_gives_up(creched: Daemon, name: str) -> None:
    creched.docker(
        "run", "-d", "--name", name, "--restart", "on-failure:2", "busybox", "false", check=True
    )
    until(creched, name, ".State.Status", "exited")
    assert field(creched, name, ".RestartCount") == "2"


def test_a_killed_container_is_not_started_again(creched: Daemon, name: str) -> None:
    creched.docker(
        "run", "-d", "--name", name, "--restart", "always", "busybox", "sleep", "100", check=True
    )
    creched.docker("kill", name, check=True)
    until(creched, name, ".State.Status", "exited")
    assert field(creched, name, ".RestartCount") == "0"


def test_kill_sends_the_signal_that_is_named(creched: Daemon, name: str) -> None:
    script = "trap 'echo usr1' USR1; echo up; while :; do sleep 0.1; done"
    creched.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    deadline = time.monotonic() + PATIENCE_S
    while "up" not in creched.docker("logs", name).stdout:
        assert time.monotonic() < deadline
    creched.docker("kill", "-s", "USR1", name, check=True)
    while "usr1" not in creched.docker("logs", name).stdout:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("binary", docker_binaries())
@pytest.mark.parametrize("api", ["", "1.24"])
def test_wait_prints_the_exit_code(creched: Daemon, name: str, binary: str, api: str) -> None:
    creched.docker("run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 0.3; exit 9")
    waited = creched.docker("wait", name, check=True, binary=binary, api=api)
    assert waited.stdout == "9\n"
    again = creched.docker("wait", name, check=True, binary=binary, api=api)
    assert again.stdout == "9\n"


@pytest.mark.same_everywhere
@pytest.mark.parametrize("binary", docker_binaries())
def test_what_no_object_has_as_its_name_is_told_in_dockers_words(
    creched: Daemon, binary: str
) -> None:
    shown = creched.docker("inspect", "nothing-here", binary=binary)
    assert shown.returncode == 1
    assert "no such object: nothing-here" in shown.stderr.lower()


@pytest.mark.same_everywhere
def test_a_name_in_use_is_refused_in_dockers_words(creched: Daemon, name: str) -> None:
    made = creched.docker("create", "--name", name, "busybox", check=True).stdout.strip()
    again = creched.docker("create", "--name", name, "busybox")
    assert again.returncode == 1
    assert f'The container name "/{name}" is already in use by container "{made}"' in again.stderr


@pytest.mark.same_everywhere
def test_rename_keeps_the_container_and_frees_the_name(creched: Daemon, name: str) -> None:
    made = creched.docker("create", "--name", "before-rename", "busybox", check=True).stdout
    creched.docker("rename", "before-rename", name, check=True)
    assert field(creched, name, ".Id") == made.strip()
    assert creched.docker("inspect", "before-rename").returncode == 1


def test_a_running_container_is_removed_by_force_only(creched: Daemon, name: str) -> None:
    creched.docker("run", "-d", "--name", name, "busybox", "sleep", "100", check=True)
    refused = creched.docker("rm", name)
    assert "cannot remove container" in refused.stderr
    creched.docker("rm", "-f", name, check=True)
    assert creched.docker("inspect", name).returncode == 1


def test_what_a_container_wrote_is_there_after_a_restart(creched: Daemon, name: str) -> None:
    script = "test -e /kept && echo again || touch /kept"
    creched.docker("run", "--name", name, "busybox", "sh", "-c", script, check=True)
    assert creched.docker("start", "-a", name, check=True).stdout == "again\n"


@pytest.mark.same_everywhere
def test_ps_filters_by_label_status_name_and_exit_code(creched: Daemon, name: str) -> None:
    creched.docker("run", "--name", name, "-l", "tier=x", "busybox", "sh", "-c", "exit 3")
    for wanted in ("label=tier=x", "status=exited", f"name={name}", "exited=3", "ancestor=busybox"):
        shown = creched.docker("ps", "-a", "--filter", wanted, "--format", "{{.Names}}").stdout
        assert name in shown.split(), wanted
    assert creched.docker("ps", "-aq", "--filter", "label=tier=y").stdout == ""
    assert "invalid filter" in creched.docker("ps", "--filter", "foo=1").stderr


@pytest.mark.same_everywhere
def test_logs_can_be_cut_followed_and_dated(creched: Daemon, name: str) -> None:
    script = "for i in 1 2 3; do echo $i; done; sleep 0.5; echo late; echo err >&2"
    creched.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script, check=True)
    followed = creched.docker("logs", "-f", name, check=True)
    assert followed.stdout.split() == ["1", "2", "3", "late"]
    assert followed.stderr == "err\n"
    assert creched.docker("logs", "--tail", "2", name).stdout + "" == "late\n"
    dated = creched.docker("logs", "-t", "--tail", "2", name).stdout
    moment, _, line = dated.partition(" ")
    assert line == "late\n"
    assert len(moment) == len("2026-11-24T03:37:41.706600178Z")
    assert creched.docker("logs", "--since", moment, name).stdout == "late\n"
    assert "late" not in creched.docker("logs", "--until", "2000-01-01T00:00:00Z", name).stdout


def test_attach_shows_what_comes_and_ends_with_the_container(
    creched: Daemon, name: str, tmp_path: Path
) -> None:
    script = "until [ -e /host/go ]; do echo waiting; sleep 0.1; done; echo seen; exit 4"
    options = ("-v", f"{tmp_path}:/host", "busybox", "sh", "-c", script)
    creched.docker("run", "-d", "--name", name, *options, check=True)
    with creched.docker_begun("attach", "--no-stdin", name) as attached:
        assert attached.stdout is not None
        assert attached.stdout.readline() == "waiting\n"
        (tmp_path / "go").touch()
        assert attached.stdout.read().endswith("seen\n")
    assert attached.returncode == 4


def test_events_tell_of_a_whole_life(creched: Daemon, name: str) -> None:
    since = str(time.time())
    creched.docker("run", "--rm", "--name", name, "busybox", "true", check=True)
    until = str(time.time() + 0.5)
    shown = creched.docker(
        "events",
        "--since",
        since,
        "--until",
        until,
        "--filter",
        f"container={name}",
        "--format",
        "{{json .}}",
        check=True,
    ).stdout
    actions = [json.loads(line)["Action"] for line in shown.splitlines()]
    assert actions == ["create", "attach", "start", "die", "destroy"]


@pytest.mark.same_everywhere
def test_prune_removes_what_is_down_only(creched: Daemon, name: str) -> None:
    creched.docker("run", "--name", name, "busybox", "true", check=True)
    creched.docker("run", "-d", "--name", "running", "busybox", "sleep", "100", check=True)
    creched.docker("container", "prune", "-f", check=True)
    assert creched.docker("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["running"]
    creched.docker("rm", "-f", "running", check=True)


@pytest.mark.same_everywhere
def test_what_is_not_there_yet_answers_with_a_message_that_says_so(
    creched: Daemon, name: str
) -> None:
    creched.docker("run", "-d", "--name", name, "busybox", "sleep", "100", check=True)
    for verb in (["cp", f"{name}:/etc/passwd", "-"],):
        done = creched.docker(*verb)
        assert done.returncode != 0
        assert "not implemented yet" in done.stderr, done.stderr
