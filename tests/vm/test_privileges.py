"""What takes a host with every privilege, which the machines that build rarely are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.daemon import Daemon

_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")


@pytest.mark.parametrize("option", [["--privileged"], ["--cap-add", "ALL"]])
def test_every_capability_of_the_kernel_is_there(creched: Daemon, option: list[str]) -> None:
    every = (1 << int(_LAST_CAPABILITY.read_text()) + 1) - 1
    shown = creched.docker(
        "run", "--rm", *option, "busybox", "grep", "-E", "Cap(Prm|Eff|Bnd)", "/proc/self/status",
        check=True,
    ).stdout.split()  # fmt: skip
    assert shown == [
        word for name in ("Prm", "Eff", "Bnd") for word in (f"Cap{name}:", f"{every:016x}")
    ]


def test_a_privileged_process_may_mount_and_see_every_device(creched: Daemon) -> None:
    script = "mount -t tmpfs none /tmp && echo mounted; test -b /dev/vda && echo disk"
    done = creched.docker("run", "--rm", "--privileged", "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split() == ["mounted", "disk"]


@pytest.mark.parametrize("also", [[], ["-u", "1000"]])
def test_a_limit_is_raised_above_the_daemons_own(creched: Daemon, also: list[str]) -> None:
    assert creched.process is not None
    own = int(_queue_bytes(Path(f"/proc/{creched.process.pid}/limits").read_text())[1])
    options = ["--ulimit", f"msgqueue={own + 1}:{own + 7}", *also]
    done = creched.docker(
        "run", "--rm", *options, "busybox", "cat", "/proc/self/limits", check=True
    )
    assert _queue_bytes(done.stdout) == [str(own + 1), str(own + 7)]


def _queue_bytes(limits: str) -> list[str]:
    """The soft and the hard limit, which few change. Source: proc_pid_limits(5)."""
    return limits.partition("Max msgqueue size")[2].split()[:2]


def test_the_oom_score_may_be_negative(creched: Daemon) -> None:
    done = creched.docker(
        "run", "--rm", "--oom-score-adj", "-500", "busybox", "cat", "/proc/self/oom_score_adj",
        check=True,
    )  # fmt: skip
    assert done.stdout == "-500\n"
