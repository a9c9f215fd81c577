"""Attacks on and from user namespaces. Each test names its line of ATTACKS.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.errors import InvalidRequest, Unsupported
from drivers.execution.base import IdMap, IdRange
from drivers.execution.id_map import explain, open_user_namespace
from tests.native import bind, open_mapped_box
from tests.system.conftest import running_daemon
from tests.system.daemon import REPOSITORY, Daemon

_AUTO = ("--security-opt", "userns=auto")
_MAKE_ONE = """
from drivers.errors import Unsupported
from drivers.execution.id_map import open_user_namespace
from tests.native import IDS
try:
    open_user_namespace(IDS)
except Unsupported as error:
    print(error)
"""


@pytest.fixture
def creched_on_ramfs(busybox: Path) -> Iterator[Daemon]:
    """A daemon whose root is on a file system that knows no id maps."""
    yield from running_daemon(busybox, root_filesystem="ramfs")


def test_a_file_system_that_cannot_is_an_error(creched_on_ramfs: Daemon) -> None:
    """ATTACKS 15: the command does not run, as whoever."""
    creched = creched_on_ramfs
    assert creched.docker("run", "--rm", "busybox", "echo", "ran", check=True).stdout == "ran\n"
    done = creched.docker("run", "--name", "mapped", *_AUTO, "busybox", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert "ramfs at " in done.stderr
    assert "has no id-mapped mounts" in done.stderr
    shown = creched.docker(
        "inspect", "-f", "{{.State.Status}} {{.State.Error}}", "mapped", check=True
    )
    assert "no id-mapped mounts" in shown.stdout
    creched.docker("rm", "mapped", check=True)


def test_a_kernel_that_gives_none_is_an_error() -> None:
    """ATTACKS 15: the limit is set where this host does not notice."""
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "-"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _MAKE_ONE],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "`sysctl user.max_user_namespaces` is the limit" in done.stdout


@pytest.mark.parametrize("error", [22, 28, 38, 87])
def test_a_kernel_that_refuses_the_process_is_an_error(error: int) -> None:
    """ATTACKS 15."""
    assert isinstance(explain(error, ""), Unsupported)


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 5, -1])
def test_a_huge_id_never_is_another_one(number: int) -> None:
    """ATTACKS 13: the kernel itself takes 2^32 in a map for 0."""
    lines = (IdRange(container_id=0, host_id=number, size=2),)
    with pytest.raises(InvalidRequest, match="ids are 0-2147483647"):
        open_user_namespace(IdMap(uids=lines, gids=lines))


async def test_a_user_out_of_range_is_never_root(tmp_path: Path) -> None:
    """ATTACKS 13."""
    async with open_mapped_box(tmp_path) as box:
        for user in ("65536", "2147483648", "4294967296", "4294967295", "-1", "0:4294967296"):
            with pytest.raises(ExceptionGroup) as caught:
                await box.run("touch", "/ran", user=user)
            assert caught.group_contains(InvalidRequest)
        assert not (box.root / "ran").exists()


async def test_its_root_is_nobody_to_the_hosts_files(tmp_path: Path) -> None:
    """ATTACKS 15: what only root of this host may read or write, it may not."""
    (tmp_path / "data").mkdir()
    secret = tmp_path / "data/secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    (tmp_path / "data/su").write_text("#!/bin/sh\n")
    script = (
        "cat /data/secret; echo x >/data/new; chown 0:0 /data/su; chmod 4755 /data/su;"
        "cat /proc/sys/kernel/core_pattern >/dev/null; echo x >/proc/sys/kernel/core_pattern;"
        "mknod /null c 1 3; mount -o remount,rw /sys; echo 1 >/proc/sys/user/max_user_namespaces"
    )
    every = frozenset({"CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER"})
    async with open_mapped_box(tmp_path) as box:
        with bind(tmp_path / "data", "/data") as at:
            ran = await box.shell(
                script, mounts=(at,), capabilities=every, seccomp="unconfined", readonly_paths=()
            )
        assert not (box.root / "null").exists()
    assert ran.stdout == ""
    assert set(os.listdir(tmp_path / "data")) == {"secret", "su"}
    assert (tmp_path / "data/su").stat().st_mode & 0o7777 == 0o644
    assert ran.stderr.count("ermission denied") + ran.stderr.count("not permitted") >= 6
