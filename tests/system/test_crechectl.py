"""crechectl against a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.system.daemon import REPOSITORY, Daemon


def test_run_passes_streams_and_the_exit_code_on(creched: Daemon) -> None:
    done = creched.crechectl("run", "--rm", "busybox", "sh", "-c", "echo o; echo e >&2; exit 6")
    assert (done.stdout, done.stderr, done.returncode) == ("o\n", "e\n", 6)
    fed = creched.crechectl("run", "--rm", "-i", "busybox", "cat", input="text")
    assert fed.stdout == "text"


def test_a_missing_command_ends_with_127(creched: Daemon) -> None:
    done = creched.crechectl("run", "--rm", "busybox", "nope")
    assert done.returncode == 127
    assert done.stderr.startswith("crechectl: error: ")
    assert done.stderr.count("\n") == 1


def test_status_ps_and_images_speak_json(creched: Daemon) -> None:
    creched.crechectl("run", "-d", "--name", "jsonly", "busybox", "sleep", "100", check=True)
    processes = json.loads(creched.crechectl("status", "--json", check=True).stdout)
    assert [p["statename"] for p in processes if p["name"] == "jsonly"] == ["RUNNING"]
    containers = json.loads(creched.crechectl("ps", "--json", check=True).stdout)
    assert containers[0]["Names"] == ["/jsonly"]
    assert json.loads(creched.crechectl("images", "--json", check=True).stdout)
    creched.crechectl("rm", "-f", "jsonly", check=True)


def test_units_are_updated_stopped_and_started(creched: Daemon) -> None:
    (creched.units_dir / "a.toml").write_text(
        '[container.aa]\nimage = "busybox"\ncommand = "sleep 100"\n'
        "ready = { after_s = 0.1 }\nstop = { grace_s = 0 }\n"
    )
    assert creched.crechectl("update", check=True).stdout == "aa: added\n"
    creched.crechectl("restart", "aa", check=True)
    assert creched.crechectl("stop", "aa", check=True).stdout == "aa: stopped\n"
    assert creched.crechectl("status").returncode == 3
    again = creched.crechectl("stop", "aa")
    assert (again.returncode, "not running" in again.stderr) == (0, True)
    (creched.units_dir / "a.toml").unlink()
    assert creched.crechectl("update", check=True).stdout == "aa: removed\n"


def test_doctor_tells_of_every_driver(creched: Daemon) -> None:
    findings = json.loads(creched.crechectl("doctor", "--json").stdout)
    named = {(finding["kind"], finding["name"]) for finding in findings}
    wanted = {("storage", "overlay"), ("storage", "vfs"), ("log", "json-file"), ("log", "none")}
    assert wanted <= named
    assert {("execution", "native"), ("network", "none"), ("network", "host")} <= named


def test_doctor_works_without_a_daemon() -> None:
    command = [sys.executable, "-m", "supervisor.cli.main", "-s", "/nowhere", "doctor", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("verb", ["status", "ps", "images"])
def test_a_missing_daemon_is_told_on_one_line_with_the_way_out(verb: str) -> None:
    command = [sys.executable, "-m", "supervisor.cli.main", "-s", "/nowhere/sock", verb]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stderr.count("\n") == 1
    assert "start it with `creched`" in done.stderr


def test_the_client_imports_nothing_heavy() -> None:
    check = "import supervisor.cli.main, sys; print([m for m in ('trio', 'h11', 'rich', 'psutil')"
    done = subprocess.run(
        [sys.executable, "-c", f"{check} if m in sys.modules])"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
