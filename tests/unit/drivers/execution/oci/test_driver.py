"""Containers of real runtimes, looked at from within and from the host."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from drivers.errors import (
    CommandNotFound,
    InvalidRequest,
    LimitUnavailable,
    NotRunning,
    SpawnFailed,
    Unsupported,
)
from drivers.execution.base import (
    Device,
    IdMap,
    IdRange,
    Namespaces,
    Pipes,
    Rlimit,
    Started,
    WindowSize,
)
from drivers.execution.oci.driver import open_driver
from drivers.execution.resources import Limits
from drivers.keeper.client import open_keeper
from tests.host import mounts
from tests.native import Box, bind
from tests.oci import Find, crun, runc
from tests.unit.drivers.execution.oci.containers import (
    DEFAULT_CAPABILITIES,
    both,
    drain_terminal,
    open_box,
    raises,
    read,
    running,
)


def _fields(text: str) -> dict[str, str]:
    """Lines of /proc/self/status."""
    return {
        name: value.strip() for name, _, value in (li.partition(":") for li in text.split("\n"))
    }


@both
async def test_root_has_dockers_capabilities_and_no_inheritable_ones(box: Box) -> None:
    status = _fields((await box.run("cat", "/proc/self/status")).stdout)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert status[name] == DEFAULT_CAPABILITIES
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert (status["Uid"], status["Groups"]) == ("0\t0\t0\t0", "0")
    assert (status["SigIgn"], status["SigBlk"], status["SigCgt"]) == ("0" * 16,) * 3
    assert (status["Umask"], status["NoNewPrivs"]) == ("0022", "0")


@both
async def test_a_user_has_its_groups_and_no_capabilities(box: Box) -> None:
    ran = await box.shell("cat /proc/self/status; echo HOME:$HOME", user="alice", no_new_privs=True)
    status = _fields(ran.stdout)
    assert status["CapPrm"] == status["CapEff"] == status["CapInh"] == "0" * 16
    assert status["CapBnd"] == DEFAULT_CAPABILITIES
    assert (status["Uid"], status["Gid"]) == ("1000\t" * 3 + "1000", "1000\t" * 3 + "1000")
    assert (status["Groups"], status["NoNewPrivs"]) == ("10 1000", "1")
    assert status["HOME"] == "/home/alice"


@both
async def test_it_is_the_first_process_of_its_own_world(box: Box) -> None:
    names = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
    script = "".join(f"readlink /proc/self/ns/{name};" for name in names)
    ran = await box.shell(
        "echo $$; hostname; cat /proc/sys/kernel/domainname; ls /sys/class/net;"
        f"cat /sys/class/net/lo/carrier; {script}",
        hostname="crib",
        domainname="nursery",
    )
    words = ran.stdout.split()
    assert words[:5] == ["1", "crib", "nursery", "lo", "1"]
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert all(a != b for a, b in zip(words[5:], ours, strict=True))


@both
async def test_namespaces_are_the_hosts_or_anothers_as_asked(box: Box) -> None:
    script = "for n in pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done"
    hosts = Namespaces(pid="host", ipc="host", uts="host", network="host", cgroup="host")
    shared = (await box.shell(script, namespaces=hosts)).stdout.split()
    assert shared == [
        os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "ipc", "uts", "net", "cgroup")
    ]
    async with trio.open_nursery() as nursery:
        started, _ = await box.start(nursery, "sleep 1000000")
        theirs = [os.readlink(f"/proc/{started.pid}/ns/{n}") for n in ("pid", "ipc", "uts", "net")]
        netns = os.open(f"/proc/{started.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        pidfd = os.pidfd_open(started.pid)
        joined = Namespaces(pid=pidfd, ipc=pidfd, uts=pidfd, network=netns)
        ran = await box.shell(script, key="guest", namespaces=joined)
        assert ran.stdout.split()[:4] == theirs
        os.close(netns)
        await box.driver.terminate("box")
    with raises(NotRunning, "has ended"):
        await box.run("true", namespaces=Namespaces(ipc=pidfd))
    os.close(pidfd)


@pytest.mark.parametrize("runtime", [runc, crun])
async def test_a_user_namespace_has_the_ids_asked_for(runtime: Find) -> None:
    ids = IdRange(container_id=0, host_id=100_000, size=65536)
    script = "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user"
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o711)  # as /run/creche is: other users get through to the bundle
        async with open_box(runtime, Path(name)) as box:
            ran = await box.shell(script, id_map=IdMap(uids=(ids,), gids=(ids,)))
    *numbers, namespace = ran.stdout.split()
    assert numbers == ["0", "0", "100000", "65536"], ran.stderr
    assert namespace != os.readlink("/proc/self/ns/user")


@both
async def test_mounts_are_in_the_container_and_never_on_the_host(box: Box, tmp_path: Path) -> None:
    source, file = tmp_path / "source", tmp_path / "file"
    source.mkdir()
    (source / "name").write_text("data")
    file.write_text("text")
    before = mounts()
    with bind(source, "/new/dir") as one, bind(file, "/etc/new-file") as two:
        async with trio.open_nursery() as nursery:
            script = "cat /new/dir/name /etc/new-file; exec sleep 1000000"
            _, output = await box.start(nursery, script, mounts=(one, two))
            assert await read(output, 8) == b"datatext"
            assert mounts() == before
            await output.aclose()
            await box.driver.terminate("box")
    assert mounts() == before


@both
async def test_the_root_can_be_read_only_with_mounts_in_it(box: Box, tmp_path: Path) -> None:
    with bind(tmp_path, "/d") as mount:
        ran = await box.shell("touch /x; touch /d/made", read_only=True, mounts=(mount,))
    assert "Read-only file system" in ran.stderr
    assert (tmp_path / "made").exists()


@both
async def test_the_working_directory_is_made_and_kernel_paths_are_covered(box: Box) -> None:
    ran = await box.shell("pwd; cat /proc/keys; echo 1 >/proc/sys/vm/swappiness", cwd="/a/b")
    assert ran.stdout == "/a/b\n"
    assert "Read-only file system" in ran.stderr


@both
async def test_devices_sysctls_and_adjustments_are_set(box: Box) -> None:
    ran = await box.shell(
        "ls -l /dev/mine; cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj;"
        "df -k /dev/shm | tail -n 1",
        devices=(Device(path="/dev/mine", kind="c", major=1, minor=3, mode=0o640, gid=10),),
        sysctls=(("net.ipv4.ip_forward", "1"),),
        oom_score_adj=500,
        shm_size_bytes=1024 * 1024,
    )
    device, forward, score, shm = ran.stdout.splitlines()
    assert device.split()[:6] == ["crw-r-----", "1", "root", "wheel", "1,", "3"]
    assert (forward, score, shm.split()[1]) == ("1", "500", "1024")


@both
async def test_limits_are_the_control_groups(box: Box) -> None:
    limits = Limits(
        memory_bytes=64 << 20, memory_swap_bytes=64 << 20, nano_cpus=500_000_000, pids=7
    )
    script = """
    cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us \
        /sys/fs/cgroup/pids/pids.max 2>/dev/null ||
    cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max"""
    ran = await box.shell(
        script, limits=limits, rlimits=(Rlimit(name="nofile", soft=90, hard=100),)
    )
    assert [word for word in ran.stdout.split() if word != "100000"] == ["67108864", "50000", "7"]


@both
async def test_system_calls_are_filtered_unless_it_is_unconfined(box: Box) -> None:
    script = "grep ^Seccomp: /proc/self/status; unshare -n true && echo unshared"
    assert (await box.shell(script)).stdout.split() == ["Seccomp:", "2"]
    ran = await box.shell(script, seccomp="unconfined")
    assert ran.stdout.split() == ["Seccomp:", "0"]
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    assert "Invalid cross-device link" in (await box.shell("mkdir /x", seccomp=profile)).stderr
    async with running(box) as (_, execution):
        await execution.run("grep", "^Seccomp:", "/proc/self/status")
        assert (await execution.text()).split() == ["Seccomp:", "2"]


@both
async def test_more_memory_than_the_limit_is_an_oom_kill(box: Box) -> None:
    ran = await box.run("tail", "/dev/zero", limits=Limits(memory_bytes=16 << 20))
    assert (ran.status.code, ran.status.oom_killed) == (137, True)


@both
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rlimits": (Rlimit(name="nofile", soft=2**31, hard=2**31),)}, "ulimit nofile"),
        ({"limits": Limits(cpuset_cpus="4000")}, "a limit of the set of processors"),
    ],
)
async def test_a_limit_that_cannot_be_set_is_told_by_its_name(
    box: Box, options: dict[str, object], words: str
) -> None:
    with raises(LimitUnavailable, words):
        await box.run("true", **options)


@both
async def test_a_terminal_is_given_and_has_the_size_asked_for(box: Box) -> None:
    script = "tty; stty size; read line; echo got:$line; exit 4"
    window = WindowSize(rows=33, columns=111)
    ends = []
    with contextlib.ExitStack() as held:
        command = box.command(held, "sh", "-c", script, terminal=window)
        pipes = Pipes(stdin=-1, stdout=-1, stderr=-1)
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[Started]) -> None:
                ran = box.driver.run("box", lambda: command, pipes, task_status=task_status)
                ends.append(await ran)

            started = await nursery.start(run)
            os.write(started.terminal_fd, b"word\n")
    text = drain_terminal(started.terminal_fd)
    assert {"/dev/pts/0", "33 111", "word", "got:word"} == set(text.splitlines())
    assert [end.code for end in ends] == [4]


@both
async def test_a_terminal_is_nobodys_after_a_start_that_failed_or_was_cancelled(box: Box) -> None:
    with contextlib.ExitStack() as held:
        command = box.command(held, "nope", terminal=WindowSize())
        pipes = Pipes(stdin=-1, stdout=-1, stderr=-1)
        before = os.listdir("/proc/self/fd")
        with pytest.raises(CommandNotFound):
            await box.driver.run("box", lambda: command, pipes)
        assert os.listdir("/proc/self/fd") == before


@both
async def test_what_a_killed_daemon_left_is_found_and_cleaned(box: Box, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        started, output = await box.start(nursery, "sleep 1000000")
        again = open_driver(
            box.keeper,
            os.path.dirname((await box.driver.info("box")).cgroup),
            tmp_path / "run",
            {"runtime": box.driver._runtime.path},  # type: ignore[attr-defined]
        )
        assert await again.leftovers() == ["box"]
        await again.clean("box")
        await output.aclose()
    # the first driver, which was not killed in truth, has let go of it as well by now
    assert await again.leftovers() == []
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


async def test_a_runtime_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with open_keeper() as keeper:
        with pytest.raises(Unsupported, match="no runtime /nope/runc: install it"):
            open_driver(keeper, "/x", tmp_path, {"runtime": "/nope/runc"})
        with pytest.raises(InvalidRequest, match="unknown exec-opt 'foo' for oci"):
            open_driver(keeper, "/x", tmp_path, {"foo": "1"})


async def test_a_runtime_that_fails_without_a_word_is_told(tmp_path: Path) -> None:
    async with open_box(lambda _: "/bin/false", tmp_path) as box:
        with raises(SpawnFailed, "false create: it failed and said nothing"):
            await box.run("true")


async def test_a_runtime_that_has_gone_is_not_taken_for_a_missing_command(tmp_path: Path) -> None:
    program = tmp_path / "runtime"
    shutil.copy("/bin/true", program)
    async with open_box(lambda _: str(program), tmp_path) as box:
        program.unlink()
        with raises(SpawnFailed, "runtime create: ENOENT"):
            await box.run("true")
