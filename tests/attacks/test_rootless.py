"""Attacks from containers of an ordinary user's daemon. Each test names its line of ATTACKS.md."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.system.rootless import UID, RootlessDaemon
from tests.system.test_rootless import creched, creched_with_group

__all__ = ["creched", "creched_with_group"]

# With every right that a container can be given.
_ALL = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined",
        "--security-opt", "systempaths=unconfined")  # fmt: skip
_WRITE = """
mkdir /sys/fs/cgroup/x && echo made /sys/fs/cgroup/x
umount /sys/fs/cgroup; mount -o remount,rw /sys/fs/cgroup; mount -o remount,rw /sys
for type in cgroup cgroup2; do mkdir -p /tmp/$type; mount -t $type x /tmp/$type; done
mount -t cgroup -o memory x /tmp/cgroup
find / -path /proc -prune -o -type f \\( -name cgroup.procs -o -name tasks \\
    -o -name release_agent -o -name 'memory.*' \\) -print | while read file; do
    for text in 1 0 max /tmp/x; do echo $text 2>/dev/null >$file && echo wrote $file; done
done
find /sys /tmp -type d -path '*cgroup*' | while read directory; do
    mkdir $directory/creche-attack 2>/dev/null && echo made $directory/creche-attack
done
echo tried
"""


def _groups() -> set[str]:
    top = Path("/sys/fs/cgroup")
    return {str(path) for path in top.rglob("*creche-attack*")} | {
        str(path) for path in top.glob("*/x") if path.is_dir()
    }


def _of_this_process() -> list[str]:
    """Without hugetlb, which tests of crun mount and unmount meanwhile."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return [line for line in lines if ":hugetlb:" not in line]


@pytest.mark.parametrize("runtime", ["native", "runc"])
@pytest.mark.parametrize("network", ["none", "host"])
def test_a_container_writes_no_control_group_of_the_host(
    creched: RootlessDaemon, network: str, runtime: str
) -> None:
    """ATTACKS 11."""
    before = _of_this_process()
    options = [*_ALL, "--network", network, "--runtime", runtime]
    done = creched.docker("run", "--rm", *options, "busybox", "sh", "-c", _WRITE)
    made_in_image = {f"made /tmp/{name}/creche-attack" for name in ("cgroup", "cgroup2")}
    assert set(done.stdout.splitlines()) - made_in_image == {"tried"}
    assert _groups() == set()
    assert _of_this_process() == before


def test_nor_one_that_is_the_users_own(creched_with_group: RootlessDaemon) -> None:
    """ATTACKS 11: with the network it has a copy of the host's /sys."""
    creched = creched_with_group
    options = ["--network", "host", "--security-opt", "systempaths=unconfined"]
    done = creched.docker("run", "--rm", *options, "busybox", "sh", "-c", _WRITE)
    made_in_image = {f"made /tmp/{name}/creche-attack" for name in ("cgroup", "cgroup2")}
    assert set(done.stdout.splitlines()) - made_in_image == {"tried"}
    assert _groups() == set()


def test_nor_does_it_more_to_the_hosts_processes_than_its_user_could(
    creched_with_group: RootlessDaemon,
) -> None:
    """ATTACKS 11: among them, and with nothing of /proc covered or protected."""
    creched, host = creched_with_group, os.getpid()
    users = subprocess.Popen(
        ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "sleep", "1000000"]
    )
    script = (
        f"for pid in {host} {users.pid}; do cat /proc/$pid/environ; ls /proc/$pid/root/; done;"
        f"kill -9 {host}; for file in sysrq-trigger sys/kernel/core_pattern sys/vm/drop_caches; do"
        " echo x >/proc/$file; done; grep -s . /proc/kcore; echo tried"
    )
    try:
        options = [*_ALL, "--pid", "host", "--security-opt", "systempaths=unconfined"]
        done = creched.docker("run", "--rm", *options, "busybox", "sh", "-c", script)
        assert users.poll() is None
    finally:
        users.kill()
        users.wait()
    assert done.stdout == "tried\n"
    assert len(done.stderr.splitlines()) >= 8


def test_its_root_cannot_become_the_hosts(creched: RootlessDaemon) -> None:
    """ATTACKS 11: nor read what only root of the host may."""
    etc = creched.directory / "etc/secret"
    etc.write_text("secret\n")
    os.chmod(etc, 0o600)
    options = ["-v", f"{etc.parent}:/data", *_ALL]
    script = (
        "cat /data/secret; echo x >/data/passwd; mknod /d b 7 0; cat /dev/mem;"
        "chroot /proc/1/root id"
    )
    done = creched.docker("run", "--rm", *options, "busybox", "sh", "-c", script)
    assert "secret\n" not in done.stdout
    assert "x\n" not in (etc.parent / "passwd").read_text()
    assert done.stderr.count("ermission denied") >= 2
