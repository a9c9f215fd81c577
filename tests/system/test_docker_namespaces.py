"""What isolation's options of `docker run` do to the kernel, by the real client."""

from __future__ import annotations

import os

import pytest

from drivers.execution.hierarchy import v2_flags
from tests.system.daemon import Daemon
from tests.system.docker import run, running


def namespaces(creched: Daemon, *options: str) -> dict[str, str]:
    script = "cd /proc/self/ns; for n in pid ipc uts cgroup; do echo $n $(readlink $n); done"
    lines = run(creched, *options, "busybox", "sh", "-c", script).splitlines()
    return dict(line.split() for line in lines)


def own(name: str) -> str:
    return os.readlink(f"/proc/self/ns/{name}")


def test_the_default_filter_is_installed(creched: Daemon) -> None:
    script = "grep Seccomp: /proc/self/status; unshare -m true; mount -t tmpfs x /mnt"
    done = creched.docker("run", "--rm", "--cap-add", "SYS_CHROOT", "busybox", "sh", "-c", script)
    assert done.stdout == "Seccomp:\t2\n"
    assert done.stderr.lower().count("not permitted") + done.stderr.count("denied") == 2
    unconfined = ["--security-opt", "seccomp=unconfined"]
    shown = run(creched, *unconfined, "busybox", "grep", "Seccomp:", "/proc/self/status")
    assert shown == "Seccomp:\t0\n"
    assert "Seccomp:\t0" in run(creched, "--privileged", "busybox", "cat", "/proc/self/status")


def test_an_ordinary_user_without_no_new_privs_is_filtered_too(creched: Daemon) -> None:
    out = run(
        creched, "-u", "alice", "busybox", "grep", "-E", "Seccomp:|NoNew", "/proc/self/status"
    )
    assert out.split() == ["NoNewPrivs:", "0", "Seccomp:", "2"]


def test_a_profile_of_the_users_counts(creched: Daemon, tmp_path: os.PathLike[str]) -> None:
    file = os.path.join(tmp_path, "p.json")
    with open(file, "w") as out:
        out.write(
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], '
            '"action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}'
        )
    option = f"seccomp={file}"
    done = creched.docker("run", "--rm", "--security-opt", option, "busybox", "mkdir", "/x")
    assert "not supported" in done.stderr


@pytest.mark.parametrize("name", ["pid", "uts", "ipc"])
def test_a_namespace_of_the_host_is_shared(creched: Daemon, name: str) -> None:
    assert namespaces(creched)[name] != own(name)
    assert namespaces(creched, f"--{name}", "host")[name] == own(name)


def test_the_hosts_control_groups_are_seen_if_so_asked(creched: Daemon) -> None:
    assert namespaces(creched, "--cgroupns", "host")["cgroup"] == own("cgroup")
    assert namespaces(creched, "--cgroupns", "private")["cgroup"] != own("cgroup")


def test_the_hosts_control_groups_stay_mounted_as_they_are(creched: Daemon) -> None:
    before = v2_flags()
    run(creched, "--cgroupns", "host", "busybox", "true")
    assert v2_flags() == before


def test_processes_of_another_container_are_seen(creched: Daemon) -> None:
    with running(creched, "--name", "other"):
        out = run(creched, "--pid", "container:other", "busybox", "ps")
        assert "sleep 100000" in out
        creched.docker("stop", "-t", "0", "other", check=True)
        done = creched.docker("run", "--rm", "--pid", "container:other", "busybox", "true")
        assert done.returncode == 125
        assert "is not running" in done.stderr


def test_shared_memory_of_another_container_is_shared_if_it_may_be(creched: Daemon) -> None:
    with running(creched, "--name", "donor", "--ipc", "shareable"):
        share = ["--ipc", "container:donor", "busybox", "sh", "-c"]
        run(creched, *share, "echo secret >/dev/shm/file")
        assert run(creched, *share, "cat /dev/shm/file; df /dev/shm | tail -1").startswith("secret")
        assert namespaces(creched, "--ipc", "container:donor")["ipc"] != own("ipc")
    with running(creched, "--name", "private"):
        done = creched.docker("run", "--rm", "--ipc", "container:private", "busybox", "true")
        assert "non-shareable IPC (hint: use IpcMode:shareable" in done.stderr


def test_without_ipc_there_is_no_shared_memory(creched: Daemon) -> None:
    assert run(creched, "--ipc", "none", "busybox", "sh", "-c", "ls -d /dev/shm; :") == ""


def test_parameters_of_the_kernel_are_set(creched: Daemon) -> None:
    options = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=12345"]
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax"
    assert run(creched, *options, "busybox", "sh", "-c", script).split() == ["1", "12345"]
    done = creched.docker("run", "--rm", "--sysctl", "net.ipv4.nope=1", "busybox", "true")
    assert done.returncode != 0
    assert "net/ipv4/nope" in done.stderr or "net.ipv4.nope" in done.stderr


def test_a_device_is_there_and_may_be_used_as_far_as_asked(creched: Daemon) -> None:
    script = "ls -l /dev/x; head -c 1 /dev/x | wc -c; echo a >/dev/x"
    done = creched.docker(
        "run", "--rm", "--device", "/dev/hwrng:/dev/x:r", "busybox", "sh", "-c", script
    )
    assert done.stdout.startswith("c")
    assert "not permitted" in done.stderr
    listed = run(creched, "--device", "/dev/net:/dev/n", "busybox", "ls", "-l", "/dev/n")
    assert "10, 200" in listed


def test_a_privileged_container_sees_devices_and_may_write_sys(creched: Daemon) -> None:
    script = "ls /dev/fuse; grep ' /sys ' /proc/mounts; head -c 1 /dev/kmsg >/dev/null && echo read"
    out = run(creched, "--privileged", "busybox", "sh", "-c", script)
    assert out.startswith("/dev/fuse\n")
    assert " rw," in out
