"""Containers that share the processes and the ids of another, by the real client."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.daemon import Daemon
from tests.system.docker import running
from tests.system.test_docker_userns import AUTO, host_uid

_WITH_POD = ("--security-opt", "userns=container:pod", "--pid", "container:pod")


def _namespaces(creched: Daemon, container: str) -> dict[str, str]:
    shown = creched.docker("inspect", "-f", "{{.State.Pid}}", container, check=True).stdout
    place = Path(f"/proc/{shown.strip()}/ns")
    return {name: os.readlink(place / name) for name in ("user", "pid", "ipc", "net", "mnt", "uts")}


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_a_container_may_share_the_processes_and_the_ids_of_another(
    creched: Daemon, runtime: str
) -> None:
    creched.directory.chmod(0o711)
    with running(creched, *AUTO, "--name", "pod", "--ipc", "shareable") as pod:
        options = [*_WITH_POD, "--ipc", "container:pod", "--runtime", runtime, "-h", "side"]
        with running(creched, *options) as side:
            assert host_uid(creched, side) == host_uid(creched, pod)
            ours, theirs = _namespaces(creched, side), _namespaces(creched, pod)
            shared = {name for name in ours if ours[name] == theirs[name]}
            assert shared == {"user", "pid", "ipc"}
            script = (
                "stat -c %u /bin /etc/hosts; echo x >/made && rm /etc/passwd; hostname;"
                "echo x >/dev/null; ls /sys/class/net; kill -0 1; ps | grep -c '[s]leep 100000'"
            )
            out = creched.docker("exec", side, "sh", "-ec", script, check=True).stdout
            assert out.split() == ["0", "0", "side", "lo", "2"]
            creched.docker("exec", pod, "touch", "/dev/shm/shared", check=True)
            creched.docker("exec", side, "rm", "/dev/shm/shared", check=True)
        tty = creched.docker("run", "--rm", "-t", *options, "-u", "1000", "busybox", "tty")
        assert tty.stdout.strip() == "/dev/pts/0"
        assert "sleep" in creched.docker("top", pod, check=True).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*AUTO, "--pid", "container:pod"], "it has other ids: use --userns container:"),
        ([*AUTO, "--ipc", "container:pod"], "it has other ids: use --userns container:"),
        (["--security-opt", "userns=container:pod"], "its PID namespace must be shared too"),
        ([*_WITH_POD, "--ipc", "container:other"], "it has other ids: use --userns container:"),
        (["--security-opt", "userns=container:plain", "--pid", "container:plain"],
         "has no user namespace of its own"),
        (["--security-opt", "userns=container:nope"], "No such container: nope"),
        ([*_WITH_POD, "--privileged"], "incompatible with user namespaces"),
    ],
)  # fmt: skip
def test_who_has_other_ids_shares_nothing(
    creched: Daemon, options: list[str], message: str
) -> None:
    """ATTACKS 15."""
    made = ["--ipc", "shareable", "busybox", "sleep", "100000"]
    creched.docker("create", *AUTO, "--name", "pod", *made, check=True)
    creched.docker("create", *AUTO, "--name", "other", *made, check=True)
    creched.docker("create", "--name", "plain", *made, check=True)
    refused = creched.docker("create", "--name", "refused", *options, "busybox", "true")
    creched.docker("rm", "pod", "other", "plain", check=True)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert creched.docker("ps", "-aq", check=True).stdout == ""
