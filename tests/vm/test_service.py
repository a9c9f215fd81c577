"""units/creched.service as it is shipped, started by systemd, driven by the real clients."""

from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import host
from tests.native import is_dead
from tests.vm.service import GROUP, Service, command, group_of, limits_in, until

CONTAINERS = GROUP / "creche"
_LIMITS = ("-m", "64m", "--pids-limit", "20", "--cpus", "0.5")
_SAYS_BYE = "trap 'echo {0} >>/told/log; exit 0' TERM; sleep 1000000 & wait"
_UNIT = """
[container.{0}]
image = "busybox"
command = ["sh", "-c", "{1}"]
volumes = ["{2}:/told"]
requires = {3}
"""


@pytest.fixture
def running(service: Service) -> Iterator[Service]:
    """The service, with nothing in it before and after."""
    if service.property("ActiveState") != "active":
        service.start()
    yield service
    if service.property("ActiveState") != "active":
        service.start()
    for file in service.units_dir.iterdir():
        file.unlink()
    service.supervisorctl("update", check=True)
    for name in service.docker("ps", "-aq", check=True).stdout.split():
        service.docker("rm", "-f", name, check=True)


def _mounts() -> list[str]:
    """All but those of users' sessions, which come and go beside these tests."""
    return [line for line in host.mounts().splitlines() if " /run/user/" not in line]


def two_units(service: Service, told: Path) -> dict[str, int]:
    """Start `first`, and `second` that requires it; the pids of both."""
    told.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, requires in (("first", "[]"), ("second", '["first"]')):
        text = _UNIT.format(name, _SAYS_BYE.format(name), told, requires)
        (service.units_dir / f"{name}.toml").write_text(text)
    service.supervisorctl("update", check=True)
    until(lambda: service.states() == {"first": "RUNNING", "second": "RUNNING"})
    return {name: service.pid_of(name) for name in ("first", "second")}


def test_it_runs_from_the_wheel_in_a_group_below_its_own(running: Service) -> None:
    assert "ExecStart=/usr/bin/creched\n" in running.systemctl("cat", "creched")
    pid = int(running.property("MainPID"))
    assert b"/usr/bin/creched" in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert group_of(pid) == GROUP / "creched"
    assert running.docker("info", "-f", "{{.CgroupVersion}}", check=True).stdout == "2\n"


def test_containers_are_in_its_delegated_groups_with_their_limits(running: Service) -> None:
    made = running.docker("run", "-d", *_LIMITS, "busybox", "sleep", "1000000", check=True)
    name = made.stdout.strip()
    group = group_of(running.pid_of(name))
    assert group == CONTAINERS / name
    assert limits_in(group) == (str(64 << 20), "20", "50000 100000")
    for inner in (GROUP, CONTAINERS):
        assert (inner / "cgroup.procs").read_text() == ""
        assert {"cpu", "memory", "pids"} <= set(
            (inner / "cgroup.subtree_control").read_text().split()
        )


def test_what_runs_out_of_memory_ends_and_the_service_goes_on(running: Service) -> None:
    done = running.docker("run", "--name", "hog", "-m", "16m", "busybox", "tail", "/dev/zero")
    assert done.returncode == 137
    shown = running.docker("inspect", "-f", "{{.State.OOMKilled}}", "hog", check=True)
    assert shown.stdout == "true\n"
    assert running.property("ActiveState") == "active"


def test_stopping_ends_containers_in_order_and_leaves_nothing(
    running: Service, tmp_path: Path
) -> None:
    mounts = _mounts()
    pids = [*two_units(running, tmp_path / "told").values(), int(running.property("MainPID"))]
    running.systemctl("stop", "creched")
    assert (tmp_path / "told/log").read_text() == "second\nfirst\n"
    assert (running.property("Result"), running.property("ActiveState")) == ("success", "inactive")
    assert all(is_dead(pid) for pid in pids)
    assert not GROUP.exists()
    assert not running.socket.exists()
    assert _mounts() == mounts


def test_restarting_starts_the_units_again(running: Service, tmp_path: Path) -> None:
    before = two_units(running, tmp_path / "told")
    running.restart()
    until(lambda: running.states() == {"first": "RUNNING", "second": "RUNNING"})
    after = {name: running.pid_of(name) for name in before}
    assert not set(after.values()) & set(before.values())
    assert all(is_dead(pid) for pid in before.values())
    assert {path.name for path in CONTAINERS.iterdir() if path.is_dir()} == {
        group_of(pid).name for pid in after.values()
    }


def test_reloading_reads_the_units_again(running: Service) -> None:
    (running.units_dir / "new.toml").write_text('[container.new]\nimage = "busybox"\n')
    running.systemctl("reload", "creched")
    until(lambda: "new" in running.supervisorctl("avail", check=True).stdout)


def test_killed_it_is_started_again_and_nothing_is_left_over(
    running: Service, tmp_path: Path
) -> None:
    mounts = _mounts()
    before = two_units(running, tmp_path / "told")
    made = running.docker("run", "-d", "--name", "lost", "busybox", "sleep", "100000", check=True)
    lost = running.pid_of(made.stdout.strip())
    main = running.property("MainPID")
    restarts = int(running.property("NRestarts"))
    running.systemctl("kill", "-s", "KILL", "creched")
    until(lambda: running.property("MainPID") not in (main, "0"))
    until(running.answers)
    until(lambda: running.states().get("second") == "RUNNING")
    assert int(running.property("NRestarts")) == restarts + 1
    assert all(is_dead(pid) for pid in (*before.values(), lost, int(main)))
    shown = running.docker("inspect", "-f", "{{.State.Status}}", "lost", check=True)
    assert shown.stdout == "exited\n"
    groups = {path.name for path in CONTAINERS.iterdir() if path.is_dir()}
    assert groups == {group_of(running.pid_of(name)).name for name in before}
    assert _mounts() == mounts


def test_the_group_and_the_directories_are_made(running: Service) -> None:
    assert grp.getgrnam("creche").gr_gid > 0
    modes = {path: os.stat(path).st_mode & 0o7777 for path in ("/etc/creche", "/var/lib/creche")}
    assert modes == {"/etc/creche": 0o755, "/var/lib/creche": 0o700}
    assert running.units_dir.is_dir()


def test_members_of_the_group_may_use_the_socket_if_so_set(running: Service) -> None:
    settings = Path("/etc/creche/creche.toml")
    settings.write_text('socket-group = "creche"\n')
    running.restart()
    gid = str(grp.getgrnam("creche").gr_gid)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534"]
    ask = ["docker", "-H", f"unix://{running.socket}", "ps", "-q"]
    try:
        command(*nobody, "--groups", gid, *ask)
        refused = subprocess.run(
            [*nobody, "--clear-groups", *ask], capture_output=True, check=False
        )
        assert refused.returncode == 1
        assert b"permission denied" in refused.stderr
    finally:
        settings.unlink()
        running.restart()
