"""AppArmor's profiles on a kernel that has it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.system.daemon import Daemon

NAME = "creche-vm-test"
_OPTION = ("--security-opt", f"apparmor={NAME}")
_PLACE = ("--tmpfs", "/kept")
_PROFILE = f"""
profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  umount,
  signal,
  ptrace,
  unix,
  deny /kept/** w,
}}
"""
_WRITES = "cat /proc/self/attr/current; echo x >/tmp/x && echo tmp; echo x >/kept/x && echo kept"


@pytest.fixture(scope="module", autouse=True)
def profile() -> Iterator[None]:
    """A profile that lets everything but writing below /kept."""
    subprocess.run(["apparmor_parser", "-r"], input=_PROFILE, text=True, check=True)
    yield
    subprocess.run(["apparmor_parser", "-R"], input=_PROFILE, text=True, check=True)


def check_confined(done: subprocess.CompletedProcess[str]) -> None:
    assert done.stdout.splitlines() == [f"{NAME} (enforce)", "tmp"], done.stderr
    assert "can't create /kept/x: Permission denied" in done.stderr


@pytest.mark.parametrize(
    "also",
    [[], ["--security-opt", "no-new-privileges"], ["--privileged"], ["--runtime", "runc"],
     ["--security-opt", "userns=auto"], ["-u", "1000"]],
)  # fmt: skip
def test_a_named_profile_confines(creched: Daemon, also: list[str]) -> None:
    kept = ("--tmpfs", "/kept:mode=777")
    done = creched.docker("run", "--rm", *_OPTION, *kept, *also, "busybox", "sh", "-c", _WRITES)
    check_confined(done)


@pytest.mark.parametrize(
    "also",
    [[], ["--cap-add", "SYS_PTRACE"], ["--security-opt", "userns=auto"], ["--runtime", "runc"],
     ["--security-opt", "no-new-privileges"]],
)  # fmt: skip
def test_what_joins_by_exec_is_confined_too(creched: Daemon, also: list[str]) -> None:
    made = creched.docker(
        "run", "-d", *_OPTION, *_PLACE, *also, "busybox", "sleep", "1000000", check=True
    )
    name = made.stdout.strip()
    check_confined(creched.docker("exec", name, "sh", "-c", _WRITES))
    creched.docker("rm", "-f", name, check=True)


def test_a_privileged_exec_is_confined_all_the_same(creched: Daemon) -> None:
    made = creched.docker("run", "-d", *_OPTION, *_PLACE, "busybox", "sleep", "1000000", check=True)
    name = made.stdout.strip()
    check_confined(creched.docker("exec", "--privileged", name, "sh", "-c", _WRITES))
    creched.docker("rm", "-f", name, check=True)


@pytest.mark.parametrize("option", [[], ["--security-opt", "apparmor=unconfined"]])
def test_without_a_profile_nothing_is_refused(creched: Daemon, option: list[str]) -> None:
    done = creched.docker(
        "run", "--rm", *option, *_PLACE, "busybox", "sh", "-c", _WRITES, check=True
    )
    assert done.stdout.splitlines() == ["unconfined", "tmp", "kept"]


def test_an_unknown_profile_is_refused_before_anything_is_made(creched: Daemon) -> None:
    before = creched.docker("ps", "-aq", check=True).stdout
    done = creched.docker("run", "--security-opt", "apparmor=nope", "busybox", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert 'apparmor profile "nope" is not loaded' in done.stderr
    assert creched.docker("ps", "-aq", check=True).stdout == before


def test_the_profile_is_shown(creched: Daemon) -> None:
    made = creched.docker("create", *_OPTION, "busybox", "true", check=True).stdout.strip()
    shown = creched.docker("inspect", "-f", "{{.AppArmorProfile}}", made, check=True)
    assert shown.stdout == f"{NAME}\n"
    creched.docker("rm", made, check=True)
