"""Isolation's options of `docker run`, by the real client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.daemon import Daemon

DEFAULT_MASK = 0xA80425FB  # Docker's default capabilities
CHOWN, NET_ADMIN = 1 << 0, 1 << 12


def run(creched: Daemon, *arguments: str) -> str:
    """Standard output of `docker run --rm ...`, which must succeed."""
    return creched.docker("run", "--rm", *arguments, check=True).stdout


def status(creched: Daemon, *options: str) -> dict[str, int]:
    """The capabilities and privileges of a process, as the kernel tells them."""
    shown = run(creched, *options, "busybox", "cat", "/proc/self/status")
    lines = dict(line.split(":\t", 1) for line in shown.splitlines() if ":\t" in line)
    sets = {name: int(lines[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh")}
    return {**sets, "NoNewPrivs": int(lines["NoNewPrivs"])}


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        ((), DEFAULT_MASK),
        (("--cap-add", "net_admin"), DEFAULT_MASK | NET_ADMIN),
        (("--cap-drop", "CAP_CHOWN"), DEFAULT_MASK & ~CHOWN),
        (("--cap-drop", "ALL", "--cap-add", "chown"), CHOWN),
        (("--cap-drop", "ALL"), 0),
    ],
)
def test_capabilities_are_those_asked_for(
    creched: Daemon, options: tuple[str, ...], mask: int
) -> None:
    found = status(creched, *options)
    assert {name: found[name] for name in ("CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(
        ("CapPrm", "CapEff", "CapBnd"), mask
    )
    assert found["CapInh"] == 0


def test_a_privileged_container_has_every_capability_of_the_daemon(creched: Daemon) -> None:
    own = Path("/proc/self/status").read_text()
    mask = int(own.partition("CapBnd:\t")[2].split()[0], 16)
    found = status(creched, "--privileged")
    assert (found["CapPrm"], found["CapBnd"]) == (mask, mask)
    assert status(creched, "--cap-add", "ALL")["CapPrm"] == mask


def test_privileges_cannot_be_gained_if_so_asked(creched: Daemon) -> None:
    assert status(creched)["NoNewPrivs"] == 0
    assert status(creched, "--security-opt", "no-new-privileges")["NoNewPrivs"] == 1


def test_limits_of_a_process_are_as_asked(creched: Daemon) -> None:
    options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"]
    script = "ulimit -n; ulimit -Hn; ulimit -c"
    assert run(creched, *options, "busybox", "sh", "-c", script).split() == ["100", "200", "0"]


def test_groups_are_added(creched: Daemon) -> None:
    out = run(creched, "--group-add", "wheel", "--group-add", "555", "busybox", "id", "-G")
    assert out.split() == ["0", "10", "555"]


def test_a_reaping_process_goes_in_front(creched: Daemon) -> None:
    script = "cat /proc/1/cmdline | tr '\\0' ' '; grep docker-init /proc/mounts"
    out = run(creched, "--init", "busybox", "sh", "-c", script)
    assert out.startswith("/sbin/docker-init -- sh -c ")
    assert " /sbin/docker-init " in out
    assert " ro," in out.splitlines()[-1]
    done = creched.docker("run", "--rm", "--init", "busybox", "sh", "-c", "exit 7")
    assert done.returncode == 7


def test_nothing_is_hidden_if_so_asked(creched: Daemon) -> None:
    script = "grep -c ' /proc/' /proc/mounts; :"
    unconfined = ("--security-opt", "systempaths=unconfined")
    assert run(creched, *unconfined, "busybox", "sh", "-c", script) == "0\n"
    assert int(run(creched, "busybox", "sh", "-c", script)) > 5


REFUSED = [
    (("--cap-add", "foo"), 'invalid CapAdd: unknown capability: "CAP_FOO"'),
    (("--device", "/dev/nope"), 'adding custom device "/dev/nope": no such file or directory'),
    (("--device", "/etc/passwd"), 'adding custom device "/etc/passwd": not a device node'),
    (
        ("--sysctl", "net.ipv4.ip_forward=1", "--network", "host"),
        "not allowed in host network namespace",
    ),
    (("--oom-score-adj", "2000"), "range for oom score adj is [-1000, 1000]"),
    (("--uts", "host", "-h", "x"), "conflicting options: hostname and the UTS mode"),
    (("--pid", "container:nope"), "No such container: nope"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_is_wrong_is_refused_and_leaves_no_container(
    creched: Daemon, options: tuple[str, ...], said: str
) -> None:
    before = creched.docker("ps", "-aq", check=True).stdout
    done = creched.docker("run", "--rm", *options, "busybox", "true")
    assert done.returncode in (125, 127)  # by the client's reading of the message
    assert said in done.stderr
    assert creched.docker("ps", "-aq", check=True).stdout == before


def test_a_wrong_profile_is_refused_by_its_key(creched: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{"defaultAction": "SCMP_ACT_ALLOW", "syscals": []}')
    done = creched.docker("run", "--rm", "--security-opt", f"seccomp={file}", "busybox", "true")
    assert (done.returncode, "unknown field 'syscals'" in done.stderr) == (125, True)


def test_a_limit_that_cannot_be_raised_is_named(creched: Daemon) -> None:
    most = int(Path("/proc/sys/fs/nr_open").read_text())  # for whoever asks
    limit = f"nofile=1:{most + 1}"
    done = creched.docker("run", "--rm", "--ulimit", limit, "busybox", "true")
    assert done.returncode == 125
    assert "ulimit nofile cannot be set: operation not permitted" in done.stderr


def test_crechectl_has_the_same_options(creched: Daemon) -> None:
    options = ["--cap-drop", "ALL", "--cap-add", "chown", "--init", "--ulimit", "nofile=50:60"]
    script = "grep CapPrm /proc/self/status; ulimit -Hn; cat /proc/1/cmdline"
    done = creched.crechectl("run", "--rm", *options, "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split("\n")[:2] == [f"CapPrm:\t{CHOWN:016x}", "60"]
    assert done.stdout.split("\n")[2].startswith("/sbin/docker-init\0")
    refused = creched.crechectl("run", "--cap-add", "foo", "busybox", "true")
    assert refused.returncode == 125
    assert 'unknown capability: "CAP_FOO"' in refused.stderr


_UNIT = """
[container.kept-apart]
image = "busybox"
command = ["sh", "-c", "grep -E 'CapPrm|NoNewPrivs' /proc/self/status; ulimit -n; id -G"]
cap_drop = ["ALL"]
cap_add = ["KILL"]
ulimits = { nofile = { soft = 77, hard = 88 } }
group_add = ["wheel"]
init = true
restart = { policy = "no" }
ready = { after_s = 0.0 }
"""


def test_a_unit_has_the_same_keys(creched: Daemon) -> None:
    file = creched.units_dir / "kept-apart.toml"
    file.write_text(_UNIT)
    creched.crechectl("update", check=True)
    creched.docker("wait", "kept-apart")
    logs = creched.docker("logs", "kept-apart", check=True).stdout
    assert logs.split() == ["CapPrm:", f"{1 << 5:016x}", "NoNewPrivs:", "1", "77", "0", "10"]
    file.unlink()
    creched.crechectl("update", check=True)
