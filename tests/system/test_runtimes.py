"""Containers of OCI runtimes by the real clients: chosen one by one, or for all."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.oci import crun, end_hugetlb
from tests.system.conftest import running_daemon
from tests.system.daemon import Daemon

_RUNC = ("--runtime", "runc")


@pytest.fixture(scope="module")
def creched(busybox: Path) -> Iterator[Daemon]:
    """A daemon whose runtimes are those of this host, crun in a place where it works."""
    for daemon in running_daemon(busybox, configure=_with_crun):
        yield daemon
    end_hugetlb(daemon.cgroup_parent)


def _with_crun(directory: Path) -> list[str]:
    """Its file of settings."""
    file = directory / "creche.toml"
    file.write_text(f'[runtimes.crun]\npath = "{shutil.which(crun(directory))}"\n')
    return ["--config", str(file)]


def _inspect(creched: Daemon, name: str) -> dict[str, Any]:
    [found] = json.loads(creched.docker("inspect", name, check=True).stdout)
    container: dict[str, Any] = found
    return container


def test_info_names_the_runtimes_and_the_default(creched: Daemon) -> None:
    shown = creched.docker("info", "-f", "{{json .Runtimes}} {{.DefaultRuntime}}", check=True)
    runtimes, _, default = shown.stdout.rpartition(" ")
    assert default == "native\n"
    paths = {name: found["path"] for name, found in json.loads(runtimes).items()}
    assert os.path.basename(paths["runc"]) == "runc"
    assert paths["crun"] == shutil.which(crun(creched.directory))
    assert paths["native"] == "native"
    assert "runc" in creched.crechectl("info", check=True).stdout


@pytest.mark.parametrize("runtime", ["runc", "crun", "native"])
def test_both_streams_and_the_exit_code_reach_the_client(creched: Daemon, runtime: str) -> None:
    script = "echo out; echo err >&2; exit 7"
    done = creched.docker("run", "--rm", "--runtime", runtime, "busybox", "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    done = creched.crechectl("run", "--rm", "--runtime", runtime, "busybox", "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_standard_input_is_passed_on_to_its_end(creched: Daemon, runtime: str) -> None:
    text = "line\n" * 50_000
    done = creched.docker(
        "run", "--rm", "-i", "--runtime", runtime, "busybox", "cat", input=text, check=True
    )
    assert done.stdout == text


def test_it_is_seen_killed_and_read_like_any_other(creched: Daemon) -> None:
    script = "echo $0 logged; exec sleep 1000"
    creched.docker("run", "-d", "--name", "box", *_RUNC, "busybox", "sh", "-c", script, check=True)
    assert _inspect(creched, "box")["HostConfig"]["Runtime"] == "runc"
    assert creched.docker("top", "box", check=True).stdout.splitlines()[1].endswith("sleep 1000")
    assert creched.docker("logs", "box", check=True).stdout == "sh logged\n"
    creched.docker("kill", "-s", "KILL", "box", check=True)
    assert creched.docker("wait", "box", check=True).stdout == "137\n"
    creched.docker("start", "box", check=True)
    creched.docker("stop", "-t", "0", "box", check=True)
    creched.docker("rm", "box", check=True)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_exec_pause_stats_and_update_work_on_it(creched: Daemon, runtime: str) -> None:
    docker = creched.docker
    options = ["--runtime", runtime, "-m", "64m", "--name", "whole"]
    docker("run", "-d", *options, "busybox", "sleep", "1000", check=True)
    script = ["sh", "-c", "cat; id -u; exit 5"]
    done = docker("exec", "-i", "-u", "alice", "whole", *script, input="in\n")
    assert (done.stdout, done.returncode) == ("in\n1000\n", 5), done.stderr
    assert docker("exec", "whole", "nope").returncode == 127
    docker("pause", "whole", check=True)
    assert "paused" in docker("exec", "whole", "true").stderr
    docker("unpause", "whole", check=True)
    stats = ["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "whole"]
    assert docker(*stats, check=True).stdout.endswith("/ 64MiB 1\n")
    docker("update", "-m", "128m", "--memory-swap", "128m", "whole", check=True)
    assert docker(*stats, check=True).stdout.endswith("/ 128MiB 1\n")
    docker("rm", "-f", "whole", check=True)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_it_can_have_a_terminal(creched: Daemon, runtime: str) -> None:
    script = "test -t 0 && test -t 1 && tty"
    done = creched.docker("run", "--rm", "-t", "--runtime", runtime, "busybox", "sh", "-c", script)
    assert (done.stdout, done.returncode) == ("/dev/pts/0\n", 0), done.stderr


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_system_calls_are_filtered_and_privileges_dropped(creched: Daemon, runtime: str) -> None:
    script = "grep -E '^(Seccomp|CapEff):' /proc/self/status"
    options = ["--runtime", runtime, "--cap-drop", "ALL"]
    done = creched.docker("run", "--rm", *options, "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split() == ["CapEff:", "0" * 16, "Seccomp:", "2"]


def test_mounts_limits_and_users_are_as_asked(creched: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("data\n")
    tmp_path.chmod(0o755)
    script = "cat /d/file; id -u; pwd; cat /etc/hostname; touch /d/new; touch /t/new && echo made"
    options = ["-v", f"{tmp_path}:/d:ro", "--tmpfs", "/t", "-u", "alice", "-w", "/tmp", "-h", "box"]
    done = creched.docker("run", "--rm", *_RUNC, *options, "busybox", "sh", "-c", script)
    assert done.stdout.split() == ["data", "1000", "/tmp", "box", "made"]
    assert "Read-only file system" in done.stderr
    oom = creched.docker("run", "--rm", *_RUNC, "-m", "16m", "busybox", "tail", "/dev/zero")
    assert oom.returncode == 137


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["busybox", "nope"], 127, 'exec: "nope": executable file not found in $PATH'),
        (["busybox", "/nope"], 127, "no such file or directory"),
        (["busybox", "/etc/passwd"], 126, "permission denied"),
        (["-u", "nobody-here", "busybox", "true"], 125, "unable to find user nobody-here"),
    ],
)
def test_what_cannot_run_is_told_as_ever(
    creched: Daemon, runtime: str, options: list[str], code: int, words: str
) -> None:
    done = creched.docker("run", "--rm", "--runtime", runtime, *options)
    assert done.returncode == code
    assert words in done.stderr


def test_an_unknown_runtime_is_refused_in_dockers_words(creched: Daemon) -> None:
    done = creched.docker("run", "--rm", "--runtime", "nope", "busybox", "true")
    assert done.returncode == 125
    assert "unknown or invalid runtime name: nope" in done.stderr


def test_a_unit_can_name_its_runtime(creched: Daemon) -> None:
    unit = """[container.by-runc]
    image = "busybox"
    command = "sleep 1000"
    execution = "runc"
    autostart = false
    stop = { grace_s = 0 }
    """
    (creched.units_dir / "unit.toml").write_text(unit)
    creched.crechectl("update", check=True)
    creched.crechectl("start", "by-runc", check=True)
    found = _inspect(creched, "by-runc")
    assert (found["HostConfig"]["Runtime"], found["State"]["Running"]) == ("runc", True)
    (creched.units_dir / "unit.toml").unlink()
    creched.crechectl("update", check=True)


def test_the_doctor_tries_each(creched: Daemon) -> None:
    report = json.loads(creched.crechectl("doctor", "--json").stdout)
    found = {f["name"]: f["works"] for f in report["findings"] if f["kind"] == "execution"}
    assert found["native"]
    assert found["runc"]


def test_a_runtime_can_be_the_default_and_a_killed_daemon_leaves_nothing(busybox: Path) -> None:
    options = ["--exec-driver", "oci", "--exec-opt", "runtime=runc"]
    for creched in running_daemon(busybox, configure=lambda _: options):
        shown = creched.docker("info", "-f", "{{.DefaultRuntime}}", check=True)
        assert shown.stdout == "runc\n"
        lost = ("--name", "lost", "--stop-signal", "KILL")
        creched.docker("run", "-d", *lost, "busybox", "sleep", "1000", check=True)
        creched.stop(signal.SIGKILL)
        creched.start()
        assert os.listdir(creched.directory / "run/oci/runc/bundles") == []
        assert os.listdir(creched.directory / "run/oci/runc/state") == []
        creched.docker("start", "lost", check=True)
