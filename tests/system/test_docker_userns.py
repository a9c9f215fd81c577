"""User namespaces of containers, by the real clients."""

from __future__ import annotations

import grp
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import running_daemon
from tests.system.daemon import PATIENCE_S, Daemon
from tests.system.docker import run, running

# Docker's own client lets nothing but "host" through as --userns.
AUTO = ("--security-opt", "userns=auto")
_POOL_START = 0x70000000
_ALICE, _GROUP = 12_345, "users"  # a user of the host, who needs no name


def inspect(creched: Daemon, container: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(creched.docker("inspect", container, check=True).stdout)[
        0
    ]
    return found


def host_uid(creched: Daemon, container: str) -> int:
    shown = creched.docker("inspect", "-f", "{{.State.Pid}}", container, check=True).stdout
    return os.stat(f"/proc/{shown.strip()}").st_uid


def test_each_container_has_a_range_of_its_own(creched: Daemon) -> None:
    with running(creched, *AUTO) as one, running(creched, *AUTO, "-u", "1000") as two:
        uids = [host_uid(creched, one), host_uid(creched, two)]
        assert uids == [_POOL_START, _POOL_START + 65536 + 1000]
        top = creched.docker("top", two, check=True).stdout
        assert "sleep 100000" in top
    with running(creched, *AUTO) as again:
        assert host_uid(creched, again) == _POOL_START


def test_the_mode_is_shown(creched: Daemon) -> None:
    with running(creched, *AUTO) as one:
        shown = inspect(creched, one)["HostConfig"]
        assert isinstance(shown, dict)
        assert shown["UsernsMode"] == "auto"


def test_what_it_writes_belongs_to_root_on_disk(creched: Daemon) -> None:
    with running(creched, *AUTO) as one:
        script = "echo x >/made; mkdir /d; chown 1000:1000 /d; rm /etc/passwd; echo x >>/etc/hosts"
        creched.docker("exec", one, "sh", "-c", script, check=True)
        layer = creched.directory / "root/storage/overlay" / one / "diff"
        assert [(layer / name).stat().st_uid for name in ("made", "d")] == [0, 1000]
        assert stat.S_ISCHR((layer / "etc/passwd").lstat().st_mode)
        hosts = creched.directory / "root/containers" / one / "hosts"
        assert hosts.stat().st_uid == 0
        diff = creched.docker("diff", one, check=True).stdout.splitlines()
        assert sorted(diff) == ["A /d", "A /made", "C /etc", "D /etc/passwd"]


def test_binds_are_as_they_are_and_tmpfs_are_its_own(creched: Daemon, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine\n")
    tmp_path.chmod(0o755)
    script = "cat /data/mine; (echo x >/data/x) 2>&1; stat -c %u /data/mine /t; echo x >/t/x"
    options = [*AUTO, "-v", f"{tmp_path}:/data", "--tmpfs", "/t:mode=700"]
    out = run(creched, *options, "busybox", "sh", "-c", script)
    assert out.split("\n")[:-1] == [
        *("mine", "sh: can't create /data/x: Permission denied", "65534", "0")
    ]


def test_terminals_input_and_logs_work(creched: Daemon) -> None:
    out = creched.docker("run", "--rm", "-i", *AUTO, "busybox", "cat", input="said\n", check=True)
    assert out.stdout == "said\n"
    made = creched.docker(
        "run",
        "-dt",
        *AUTO,
        "-u",
        "1000",
        "busybox",
        "sh",
        "-c",
        "tty; echo x >/dev/tty; cat /dev/stdin",
    )
    name = made.stdout.strip()
    try:
        tty = ["exec", "-t", name, "sh", "-c", "tty; id -u; echo y >/dev/tty"]
        assert creched.docker(*tty, check=True).stdout.split() == ["/dev/pts/1", "1000", "y"]
        assert creched.docker("logs", name, check=True).stdout.split() == ["/dev/pts/0", "x"]
    finally:
        creched.docker("rm", "-f", name, check=True)


def test_it_stops_and_starts_with_the_same_ids(creched: Daemon) -> None:
    with running(creched, *AUTO) as one:
        before = host_uid(creched, one)
        creched.docker("restart", "-t", "0", one, check=True)
        assert host_uid(creched, one) == before


def test_a_map_is_as_given(creched: Daemon) -> None:
    option = "userns=map:uid=0:300000:1000,uid=1000:400000:5000,gid=0:500000:65536"
    out = run(
        creched,
        "--security-opt",
        option,
        "busybox",
        "cat",
        "/proc/self/uid_map",
        "/proc/self/gid_map",
    )
    assert " ".join(out.split()) == "0 300000 1000 1000 400000 5000 0 500000 65536"


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("map:uid=0:2147483648:1", "ids are 0-2147483647"),
        ("map:uid=0:4294967296:1", "ids are 0-2147483647"),
        ("map:uid=0:-1:1", "'uid=0:-1:1': not uid="),
        ("map:uid=0:2147483647:2", "ids are 0-2147483647"),
        ("map:uid=2147483648:0:1", "ids are 0-2147483647"),
        ("map:uid=0:100:0", "ids are 0-2147483647"),
        ("map:uid=1:100:5", "uid 0 of the container is not in it"),
        ("map:uid=0:100:5,uid=3:200:5", "ids of the container are in 0:100:5 too"),
        ("map:uid=0:100:5,uid=5:104:5", "ids of the host are in 0:100:5 too"),
        ("map:", "''"),
        ("keep-id:uid=4294967296", "is not uid=ID or gid=ID"),
        ("keep-id", "the caller is root"),
        ("yes", "invalid userns mode: yes"),
        ("auto:size=0", "not auto:size=N, with N from 1 to 2147483647"),
        ("auto:size=4294967296", "not auto:size=N"),
        ("auto:size=300000000", "no free range of user ids: 300000000 are asked for"),
    ],
)
def test_a_map_that_cannot_be_is_refused(creched: Daemon, mode: str, message: str) -> None:
    """ATTACKS 13, 15: before anything is created, and never as the host's ids."""
    made = creched.docker("create", "--security-opt", f"userns={mode}", "busybox", "true")
    assert made.returncode == 1
    assert message in made.stderr
    assert creched.docker("ps", "-aq", check=True).stdout == ""


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--privileged"], "privileged mode is incompatible with user namespaces"),
        (["--network", "host"], "cannot share the host's network namespace"),
        (["--pid", "host"], "cannot share the host's PID namespace"),
        (["--ipc", "host"], "cannot share the host's IPC namespace"),
        (["--cgroupns", "host"], "cannot share the host's cgroup namespace"),
    ],
)
def test_what_is_the_hosts_is_not_shared(creched: Daemon, option: list[str], message: str) -> None:
    made = creched.docker("create", *AUTO, *option, "busybox", "true")
    assert made.returncode == 1
    assert message in made.stderr


def test_users_that_are_not_mapped_are_refused(creched: Daemon) -> None:
    """ATTACKS 13."""
    for user in ("65536", "0:65536", "2147483648", "4294967296", "-1"):
        done = creched.docker("run", "--rm", *AUTO, "-u", user, "busybox", "id")
        assert done.returncode == 125
        assert "not mapped" in done.stderr or "must be in range" in done.stderr


def test_ids_are_remembered_when_the_daemon_is_killed(fresh_creched: Daemon) -> None:
    creched = fresh_creched
    made = creched.docker("create", *AUTO, "busybox", "sleep", "100000", check=True)
    one = made.stdout.strip()
    creched.stop(signal.SIGKILL)
    creched.start()
    with running(creched, *AUTO) as two:
        creched.docker("start", one, check=True)
        assert host_uid(creched, one) == _POOL_START
        assert host_uid(creched, two) == _POOL_START + 65536
    creched.docker("rm", "-f", one, check=True)


def test_a_range_is_as_large_as_asked(creched: Daemon) -> None:
    small = ("--security-opt", "userns=auto:size=2000")
    with running(creched, *small) as one, running(creched, *small) as two:
        assert host_uid(creched, two) == host_uid(creched, one) + 2000
        shown = creched.docker("exec", one, "cat", "/proc/self/uid_map", check=True).stdout
        assert shown.split() == ["0", str(_POOL_START), "2000"]
    refused = creched.docker("run", "--rm", *small, "-u", "2000", "busybox", "true")
    assert "user id 2000 is not mapped in the user namespace" in refused.stderr


@pytest.fixture
def open_creched(busybox: Path) -> Iterator[Daemon]:
    """A daemon whose socket users of a group may use."""

    def configure(directory: Path) -> list[str]:
        directory.chmod(0o711)
        return ["--socket-group", _GROUP]

    yield from running_daemon(busybox, configure=configure)


def _run_as_alice(creched: Daemon, *arguments: str) -> str:
    """What the real client of a user who is not root says of `docker run`."""
    client = [
        *("setpriv", "--reuid", str(_ALICE), "--regid", _GROUP, "--clear-groups"),
        *("env", "HOME=/nonexistent", f"DOCKER_HOST=unix://{creched.socket}"),
        *("docker", "run", "--rm", "--security-opt", "userns=keep-id"),
    ]
    done = subprocess.run(
        [*client, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.stdout + done.stderr


def test_a_caller_keeps_its_id_in_the_container(open_creched: Daemon, tmp_path: Path) -> None:
    gid = grp.getgrnam(_GROUP).gr_gid
    (tmp_path / "roots").write_text("root's\n")
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "mine").chmod(0o600)
    for place in (tmp_path, tmp_path / "mine"):
        os.chown(place, _ALICE, gid)
    script = (
        "id -u; id -g; cat /data/mine; stat -c %u /data/mine /data/roots /bin;"
        "echo x >/data/made; echo x >/data/roots"
    )
    command = ["-v", f"{tmp_path}:/data", "busybox", "sh", "-c"]
    said = _run_as_alice(open_creched, *command, script).splitlines()
    assert said[:6] == [str(_ALICE), str(gid), "mine", str(_ALICE), "65534", "0"]
    assert "can't create /data/roots: Permission denied" in said[6]
    made = (tmp_path / "made").stat()
    assert (made.st_uid, made.st_gid) == (_ALICE, gid)
    said = _run_as_alice(
        open_creched, "-u", "0", *command, "id -u; echo >/data/new; rm /data/roots"
    )
    assert said == "0\n"  # it has a right to what is the caller's, as podman's has
    assert (tmp_path / "new").stat().st_uid >= _POOL_START
    assert not (tmp_path / "roots").exists()


@pytest.fixture
def remapping_creched(busybox: Path) -> Iterator[Daemon]:
    options = ["--userns-remap", "auto", "--userns-pool-start", "200000"]
    options += ["--userns-pool-size", str(2 * 65536)]
    yield from running_daemon(busybox, configure=lambda _: options)


def test_a_daemon_may_remap_all_containers(remapping_creched: Daemon) -> None:
    creched = remapping_creched
    shown = creched.docker("info", "-f", "{{.SecurityOptions}}", check=True).stdout
    assert shown == "[name=userns]\n"
    with running(creched) as one, running(creched):
        assert host_uid(creched, one) == 200_000
        more = creched.docker("run", "--rm", "busybox", "true")
        assert "no free range of user ids" in more.stderr
        assert run(creched, "--userns", "host", "busybox", "cat", "/proc/self/uid_map").split() == [
            *("0", "0", "4294967295")
        ]
    with running(creched):
        made = creched.docker("run", "--rm", "--privileged", "busybox", "true")
        assert "incompatible with user namespaces" in made.stderr


def test_a_unit_has_its_own_ids_and_keeps_them(fresh_creched: Daemon) -> None:
    creched = fresh_creched
    unit = """[container.web]
    image = "busybox"
    command = ["sleep", "100000"]
    userns = "auto"
    stop = { grace_s = 0 }
    """
    (creched.units_dir / "web.toml").write_text(unit)
    creched.supervisorctl("update", check=True)
    creched.supervisorctl("restart", "web", check=True)
    assert host_uid(creched, "web") == _POOL_START
    (creched.units_dir / "web.toml").unlink()
    creched.supervisorctl("update", check=True)


def test_crechectl_asks_for_it_as_podman_does(creched: Daemon) -> None:
    done = creched.crechectl("run", "--userns", "auto", "busybox", "id", "-u", check=True)
    assert done.stdout == "0\n"
    refused = creched.crechectl("run", "--userns", "keep-id", "busybox", "id")
    assert "the caller is root" in refused.stderr


@pytest.mark.parametrize(
    ("options", "script", "said"),
    [
        (["--init"], "cat /proc/1/comm", "docker-init"),
        (["--read-only", "--tmpfs", "/t"], "echo x >/t/x && (echo x >/x) 2>&1", "Read-only file"),
        (["--shm-size", "1m"], "df -k /dev/shm | tail -1", " 1024 "),
        (["--ipc", "none"], "ls -d /dev/shm 2>&1", "No such file"),
        (["--uts", "host"], "hostname", os.uname().nodename),
        (["--group-add", "wheel"], "id -G", "0 10"),
        (["--cap-drop", "ALL"], "grep CapEff /proc/self/status", "0" * 16),
        (["--security-opt", "no-new-privileges"], "grep NoNew /proc/self/status", "1"),
        (["--device", "/dev/fuse"], "ls -l /dev/fuse", "10, 229"),
        (
            ["-m", "64m"],
            "cat /sys/fs/cgroup/memory*/memory.limit* /sys/fs/cgroup/memory.max; :",
            "67108864",
        ),
        (["--sysctl", "kernel.shmmax=12345"], "cat /proc/sys/kernel/shmmax", "12345"),
        (["--ulimit", "nofile=99"], "ulimit -n", "99"),
        (["--oom-score-adj", "77"], "cat /proc/self/oom_score_adj", "77"),
        (["--add-host", "x:1.2.3.4"], "cat /etc/hosts", "1.2.3.4"),
        (["-w", "/new/place"], "pwd; stat -c %u .", "/new/place\n0"),
        (["-u", "1000", "-w", "/home/alice"], "id -u", "1000"),
    ],
)
def test_other_options_are_as_ever(
    creched: Daemon, options: list[str], script: str, said: str
) -> None:
    done = creched.docker("run", "--rm", *AUTO, *options, "busybox", "sh", "-c", script)
    assert said in done.stdout, done.stderr


def test_who_may_trace_is_joined_all_the_same(creched: Daemon) -> None:
    with running(creched, *AUTO, "--cap-add", "SYS_PTRACE") as one:
        assert creched.docker("exec", one, "id", "-u", check=True).stdout == "0\n"
        every = creched.docker("exec", "--privileged", one, "grep", "CapEff", "/proc/self/status")
        assert int(every.stdout.split()[1], 16).bit_count() > 30


def test_a_container_without_ids_of_its_own_sees_one_that_has_them(creched: Daemon) -> None:
    with running(creched, *AUTO, "--name", "seen"):
        out = run(creched, "--pid", "container:seen", "busybox", "ps")
        assert "sleep 100000" in out


def test_a_runtime_shows_files_through_the_ids_too(creched: Daemon) -> None:
    """runc looks for its root as the container's; crun 1.8 has no hybrid hierarchy in there."""
    creched.directory.chmod(0o711)
    script = "stat -c %u /bin /etc/hosts; echo x >/made; stat -c %u /made; cat /proc/self/uid_map"
    out = run(creched, "--runtime", "runc", *AUTO, "busybox", "sh", "-c", script).split()
    assert (out[:4], out[5]) == (["0"] * 4, "65536")
    assert int(out[4]) >= _POOL_START
