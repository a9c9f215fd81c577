"""creched as a service of an ordinary user, whose user manager delegates a control group to it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.daemon import PATIENCE_S, Daemon
from tests.vm.service import CGROUPS, command, group_of, limits_in, until

USER = "fosterling"
_LIMITS = ("-m", "64m", "--pids-limit", "20", "--cpus", "0.5")


class UsersService(Daemon):
    """The daemon of a user who has a user manager; its clients are the user's."""

    uid: int

    @property
    def socket(self) -> Path:
        return Path(f"/run/user/{self.uid}/creche/creche.sock")

    def as_user(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program as the user."""
        ids = ["--reuid", USER, "--regid", USER, "--init-groups"]
        own = [f"XDG_RUNTIME_DIR=/run/user/{self.uid}", f"HOME=/home/{USER}"]
        return subprocess.run(
            ["setpriv", *ids, "env", *own, f"DOCKER_HOST=unix://{self.socket}", *words],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/",
        )  # fmt: skip

    def user(self, *words: str) -> str:
        """The same, which must succeed; its output."""
        done = self.as_user(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def pid_of(self, container: str) -> int:
        return int(self.user("docker", "inspect", "-f", "{{.State.Pid}}", container))


@pytest.fixture(scope="module")
def creched(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsersService]:
    """A user who lingers, and creched among the user's services."""
    command("useradd", "--create-home", USER)
    daemon = UsersService(tmp_path_factory.mktemp("unused"), "/creche")
    daemon.uid = pwd.getpwnam(USER).pw_uid
    image = Path(f"/home/{USER}/busybox.tar")
    image.write_bytes(busybox.read_bytes())
    command("loginctl", "enable-linger", USER)
    manager = f"user@{daemon.uid}.service"
    try:
        until(Path(f"/run/user/{daemon.uid}/systemd/private").exists)
        program = f"{sys.prefix}/bin/creched"
        daemon.user("systemd-run", "--user", "--unit=creched", "-p", "Delegate=yes", program)
        until(daemon.socket.exists)
        daemon.user("docker", "load", "-i", str(image))
        yield daemon
        daemon.user("systemctl", "--user", "stop", "creched")
    finally:
        command("loginctl", "disable-linger", USER)
        # the slice too: whether systemd stops it by itself depends on who is quicker
        units = (manager, f"user-runtime-dir@{daemon.uid}.service", f"user-{daemon.uid}.slice")
        command("systemctl", "stop", *units)
        until(lambda: not (CGROUPS / f"user.slice/user-{daemon.uid}.slice").exists())
        command("userdel", "--remove", USER)


def test_containers_are_in_its_delegated_groups_with_their_limits(creched: UsersService) -> None:
    run = ("docker", "run", "-d", *_LIMITS, "busybox", "sleep", "1000000")
    name = creched.user(*run).strip()
    group = group_of(creched.pid_of(name))
    service = CGROUPS / f"user.slice/user-{creched.uid}.slice/user@{creched.uid}.service"
    assert group == service / "app.slice/creched.service/creche" / name
    assert limits_in(group) == (str(64 << 20), "20", "50000 100000")
    assert os.stat(group).st_uid == creched.uid
    for inner in (group.parent, group.parent.parent):
        assert (inner / "cgroup.procs").read_text() == ""
    creched.user("docker", "rm", "-f", name)
    assert not group.exists()


def test_a_limit_on_memory_holds(creched: UsersService) -> None:
    done = creched.as_user(
        "docker", "run", "--name", "hog", "-m", "16m", "busybox", "tail", "/dev/zero"
    )
    assert done.returncode == 137
    assert creched.user("docker", "inspect", "-f", "{{.State.OOMKilled}}", "hog") == "true\n"
    creched.user("docker", "rm", "hog")


def test_a_limit_on_processes_holds(creched: UsersService) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all"
    done = creched.as_user(
        "docker", "run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", script
    )
    assert "can't fork" in done.stderr
    assert "all" not in done.stdout


def test_a_limit_on_processors_holds(creched: UsersService) -> None:
    run = ("docker", "run", "-d", "--cpus", "0.1", "busybox", "sh", "-c", "while :; do :; done")
    name = creched.user(*run).strip()
    stat = group_of(creched.pid_of(name)) / "cpu.stat"
    until(lambda: int(stat.read_text().partition("nr_throttled ")[2].split()[0]) > 5)
    creched.user("docker", "rm", "-f", name)


def test_the_doctor_tells_the_user_what_is_there(creched: UsersService) -> None:
    crechectl = f"{sys.prefix}/bin/crechectl"
    shown = creched.user(crechectl, "-s", str(creched.socket), "doctor", "--json")
    report = json.loads(shown)
    works = {(f["kind"], f["name"]) for f in report["findings"] if f["works"]}
    assert report["usable"]
    assert works >= {
        ("cgroup", "version 2"), ("cgroup", "memory"), ("cgroup", "cpu"), ("cgroup", "pids"),
        ("execution", "native"), ("storage", "overlay"), ("storage", "vfs"),
    }  # fmt: skip
