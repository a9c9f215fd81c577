"""`docker run` and its options, by the real clients."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import host
from tests.system.daemon import Daemon, docker_binaries


def run(creched: Daemon, *arguments: str, input: str | None = None) -> str:
    """Standard output of `docker run --rm ...`, which must succeed."""
    return creched.docker("run", "--rm", *arguments, input=input, check=True).stdout


def test_both_streams_and_the_exit_code_reach_the_client(creched: Daemon) -> None:
    done = creched.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@pytest.mark.parametrize("binary", docker_binaries())
@pytest.mark.parametrize("api", ["", "1.24", "1.41"])
def test_old_and_new_clients_and_versions_run_containers(
    creched: Daemon, binary: str, api: str
) -> None:
    done = creched.docker("run", "--rm", "busybox", "echo", "hi", binary=binary, api=api)
    assert (done.stdout, done.returncode) == ("hi\n", 0), done.stderr


def test_standard_input_is_passed_on_to_its_end(creched: Daemon) -> None:
    text = "line\n" * 50_000
    assert run(creched, "-i", "busybox", "cat", input=text) == text


def test_environment_directory_user_and_host_name_are_as_asked(
    creched: Daemon, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nFROM_FILE=f\n")
    script = "echo $A $FROM_FILE; pwd; id -u; id -g; hostname"
    options = ["-e", "A=1", "--env-file", str(file), "-w", "/new/dir", "-u", "alice", "-h", "box"]
    out = run(creched, *options, "busybox", "sh", "-c", script)
    assert out.split() == ["1", "f", "/new/dir", "1000", "1000", "box"]


def test_an_entrypoint_takes_the_place_of_the_images_command(creched: Daemon) -> None:
    assert run(creched, "--entrypoint", "echo", "busybox", "a", "b") == "a b\n"
    assert run(creched, "--entrypoint", "", "busybox", "echo", "bare") == "bare\n"
    without = creched.docker("run", "--rm", "--entrypoint", "", "busybox")
    assert "no command specified" in without.stderr


def test_hostname_is_a_variable_that_may_be_given(creched: Daemon) -> None:
    script = "env | grep ^HOSTNAME="
    assert run(creched, "-h", "box", "busybox", "sh", "-c", script) == "HOSTNAME=box\n"
    out = run(creched, "-e", "HOSTNAME=mine", "busybox", "cat", "/proc/self/environ")
    assert [item for item in out.split("\0") if item.startswith("HOSTNAME")] == ["HOSTNAME=mine"]


def test_binds_are_seen_and_read_only_ones_are(creched: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("data")
    script = "cat /d/file; touch /d/new"
    done = creched.docker("run", "--rm", "-v", f"{tmp_path}:/d:ro", "busybox", "sh", "-c", script)
    assert done.stdout == "data"
    assert "Read-only file system" in done.stderr
    run(creched, "--mount", f"type=bind,source={tmp_path},target=/d", "busybox", "touch", "/d/new")
    assert (tmp_path / "new").exists()


def test_a_missing_bind_source_is_made_for_v_and_refused_for_mount(
    creched: Daemon, tmp_path: Path
) -> None:
    run(creched, "-v", f"{tmp_path}/made:/d", "busybox", "true")
    assert (tmp_path / "made").is_dir()
    missing = f"type=bind,source={tmp_path}/missing,target=/d"
    done = creched.docker("run", "--rm", "--mount", missing, "busybox", "true")
    assert done.returncode == 125
    assert f"bind source path does not exist: {tmp_path}/missing" in done.stderr


def test_a_read_only_root_has_writable_tmpfs(creched: Daemon) -> None:
    script = "touch /x; touch /t/y && echo made; mount | grep ' /t '"
    options = ["--read-only", "--tmpfs", "/t:size=1m"]
    done = creched.docker("run", "--rm", *options, "busybox", "sh", "-c", script)
    assert "Read-only file system" in done.stderr
    assert "made" in done.stdout
    assert "size=1024k" in done.stdout


def test_limits_are_those_of_the_control_group(creched: Daemon) -> None:
    script = "cat /sys/fs/cgroup/*/memory.limit_in_bytes /sys/fs/cgroup/*/pids.max 2>/dev/null ||"
    script += " cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    out = run(creched, "-m", "64m", "--pids-limit", "20", "busybox", "sh", "-c", script)
    assert out.split() == ["67108864", "20"]


def test_more_memory_than_the_limit_is_an_oom_kill(creched: Daemon) -> None:
    script = "x=0; tail /dev/zero"
    done = creched.docker("run", "--name", "oom", "-m", "16m", "busybox", "sh", "-c", script)
    assert done.returncode == 137
    shown = creched.docker("inspect", "-f", "{{.State.OOMKilled}}", "oom", check=True)
    assert shown.stdout == "true\n"


def test_the_network_is_loopback_only_unless_it_is_the_hosts(creched: Daemon) -> None:
    own = run(creched, "busybox", "ls", "/sys/class/net")
    assert own.split() == ["lo"]
    out = run(creched, "--network", "host", "busybox", "ls", "/sys/class/net")
    assert set(out.split()) == set(os.listdir("/sys/class/net"))


def test_on_the_hosts_network_names_are_the_hosts(creched: Daemon) -> None:
    out = run(creched, "--network", "host", "busybox", "sh", "-c", "hostname; cat /etc/hosts")
    assert out == f"{os.uname().nodename}\n{Path('/etc/hosts').read_text()}"
    assert run(creched, "--network", "host", "-h", "box", "busybox", "hostname") == "box\n"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["busybox", "nope"], 127, 'exec: "nope": executable file not found in $PATH'),
        (["busybox", "/nope"], 127, "no such file or directory"),
        (["busybox", "/etc/passwd"], 126, "permission denied"),
        (["-u", "nobody-here", "busybox", "true"], 125, "unable to find user nobody-here"),
        (["-u", "0:nogroup-here", "busybox", "true"], 125, "unable to find group nogroup-here"),
        (["-p", "80:80", "busybox", "true"], 125, "not implemented yet: use --network host"),
        (["--gpus", "all", "busybox", "true"], 125, "--gpus is not implemented yet"),
        (["-v", "named:/d", "busybox", "true"], 125, "a named volume (named) is not implemented"),
        (["--network", "nope", "busybox", "true"], 125, "network nope not found"),
        (["--log-opt", "foo=1", "busybox", "true"], 125, "unknown log opt 'foo' for json-file"),
        (["-m", "1m", "busybox", "true"], 125, "Minimum memory limit allowed is 6MB"),
        (["-w", "relative", "busybox", "true"], 125, "needs to be an absolute path"),
        (["--log-driver", "nope", "busybox", "true"], 125, "unknown log driver 'nope'"),
        (["--cpus", "4096", "busybox", "true"], 125, "Range of CPUs is from 0.01 to"),
        (["--oom-score-adj", "999", "-h", "a b", "busybox", "true"], 125, "invalid hostname 'a b'"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_leaves_nothing(
    creched: Daemon, options: list[str], code: int, words: str
) -> None:
    before = creched.docker("ps", "-aq", check=True).stdout
    done = creched.docker("run", "--rm", *options)
    assert done.returncode == code
    assert words in done.stderr
    assert "Unable to find image" not in done.stderr
    assert creched.docker("ps", "-aq", check=True).stdout == before


def test_the_host_has_the_same_mounts_before_during_and_after(creched: Daemon) -> None:
    before = host.mounts()
    creched.docker("run", "-d", "--name", "mounted", "--tmpfs", "/t", "busybox", "sleep", "100")
    assert host.mounts() == before
    creched.docker("rm", "-f", "mounted", check=True)
    assert host.mounts() == before
