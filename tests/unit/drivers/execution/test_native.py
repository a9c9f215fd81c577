"""What a container of the native driver is like from within."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from drivers.errors import InvalidRequest, LimitUnavailable, SpawnFailed
from drivers.execution.base import Namespaces, Rlimit
from drivers.execution.resources import Limits
from drivers.keeper import crews
from drivers.kernel.capabilities import NUMBER_OF
from tests.native import bind, is_dead, open_box

_DEFAULT_CAPABILITIES = "00000000a80425fb"


def _fields(text: str) -> dict[str, str]:
    """Lines of /proc/self/status."""
    return {
        name: value.strip() for name, _, value in (li.partition(":") for li in text.split("\n"))
    }


async def test_root_has_dockers_capabilities_and_no_inheritable_ones(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        status = _fields((await box.run("cat", "/proc/self/status")).stdout)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert status[name] == _DEFAULT_CAPABILITIES
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert (status["Uid"], status["Groups"]) == ("0\t0\t0\t0", "0")
    assert (status["SigIgn"], status["SigBlk"], status["SigCgt"]) == ("0" * 16,) * 3
    assert (status["Umask"], status["NoNewPrivs"]) == ("0022", "0")


async def test_each_has_its_own_capabilities_however_many_sets_there_are(tmp_path: Path) -> None:
    every = [f"CAP_{name}" for name in ("CHOWN", "KILL", "SETUID", "SETGID", "FOWNER", "MKNOD")]
    sets = [every[:number] for number in range(len(every) + 1)] + [[name] for name in every]
    assert len(sets) > crews.MOST
    async with open_box(tmp_path) as box:
        for wanted in (*sets, *sets):
            ran = await box.run("cat", "/proc/self/status", capabilities=frozenset(wanted))
            status = _fields(ran.stdout)
            mask = f"{sum(1 << NUMBER_OF[name] for name in wanted):016x}"
            assert [status[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [mask] * 3


async def test_a_user_has_its_groups_and_no_capabilities(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ran = await box.shell(
            "cat /proc/self/status; echo HOME:$HOME", user="alice", no_new_privs=True
        )
    status = _fields(ran.stdout)
    assert status["CapPrm"] == status["CapEff"] == status["CapInh"] == "0" * 16
    assert status["CapBnd"] == _DEFAULT_CAPABILITIES
    assert (status["Uid"], status["Gid"]) == ("1000\t" * 3 + "1000", "1000\t" * 3 + "1000")
    assert (status["Groups"], status["NoNewPrivs"]) == ("10 1000", "1")
    assert status["HOME"] == "/home/alice"


async def test_it_is_the_first_process_of_its_own_world(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ran = await box.shell(
            "echo $$; hostname; cat /proc/sys/kernel/domainname; ls /sys/class/net;"
            "cat /sys/class/net/lo/carrier",
            hostname="crib",
            domainname="nursery",
        )
    assert ran.stdout.split() == ["1", "crib", "nursery", "lo", "1"]


async def test_every_namespace_is_another_than_the_hosts(tmp_path: Path) -> None:
    names = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
    script = "".join(f"readlink /proc/self/ns/{name};" for name in names)
    async with open_box(tmp_path) as box:
        own = (await box.shell(script)).stdout.split()
        shared = (await box.shell(script, namespaces=Namespaces(network="host"))).stdout.split()
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert all(a != b for a, b in zip(own, ours, strict=True))
    assert [a == b for a, b in zip(shared, ours, strict=True)] == [n == "net" for n in names]


async def test_a_network_namespace_that_is_given_is_joined(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        started, _ = await box.start(nursery, "sleep 1000000")
        netns = os.open(f"/proc/{started.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        ran = await box.run(
            "readlink", "/proc/self/ns/net", key="guest", namespaces=Namespaces(network=netns)
        )
        os.close(netns)
        assert ran.stdout.strip() == os.readlink(f"/proc/{started.pid}/ns/net")
        await box.driver.terminate("box")


async def test_it_has_three_descriptors_and_a_fresh_dev(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ran = await box.shell("ls /proc/$$/fd; echo -; ls /dev; stat -c %t:%T /dev/null /dev/tty")
        listed, _, rest = ran.stdout.partition("-\n")
        shm = await box.shell("df -k /dev/shm | tail -n 1", shm_size_bytes=1 << 20)
        pts = await box.shell("test -c /dev/ptmx && mount | grep -o 'devpts on /dev/pts'")
    assert listed.split() == ["0", "1", "2"]
    assert rest.split() == [
        *("core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm"),
        *("stderr", "stdin", "stdout", "tty", "urandom", "zero", "1:3", "5:0"),
    ]
    assert shm.stdout.split()[1] == "1024"
    assert pts.status.code == 0


async def test_the_streams_are_the_containers(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ran = await box.shell("cat; echo oops >&2", stdin=b"hello")
    assert (ran.stdout, ran.stderr) == ("hello", "oops\n")


async def test_kernel_files_are_hidden_or_read_only(tmp_path: Path) -> None:
    script = r"""
        wc -c < /proc/keys; wc -c < /proc/timer_list; ls /sys/firmware /proc/acpi | grep -v :
        for file in /proc/sys/kernel/hostname /sys/x /sys/fs/cgroup/x; do
            (echo x > $file) 2>&1 | grep -o 'Read-only file system'
        done
        mount | grep -c 'on /proc/\(bus\|fs\|irq\|sys\) type proc (ro,'
        mount -o remount,rw /sys 2>&1 | grep -o 'permission denied'
    """
    async with open_box(tmp_path) as box:
        ran = await box.shell(script)
    assert ran.stdout.split("\n")[:2] == ["0", "0"]
    assert ran.stdout.count("Read-only file system") == 3
    assert ran.stdout.endswith("\n4\npermission denied\n")


async def test_a_read_only_root_leaves_its_mounts_writable(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    script = "(echo x > /x) 2>&1; echo x > /data/x && echo x > /dev/shm/x && echo written"
    async with open_box(tmp_path) as box:
        with bind(tmp_path / "data", "/data") as mount:
            ran = await box.shell(script, mounts=(mount,), read_only=True)
    assert ran.stdout == "sh: can't create /x: Read-only file system\nwritten\n"
    assert (tmp_path / "data/x").read_text() == "x\n"


async def test_mounts_are_attached_in_order_and_their_targets_made(tmp_path: Path) -> None:
    (tmp_path / "outer").mkdir()
    (tmp_path / "inner").mkdir()
    (tmp_path / "file").write_text("content\n")
    async with open_box(tmp_path) as box:
        with (
            bind(tmp_path / "outer", "/a/b/c") as outer,
            bind(tmp_path / "inner", "/a/b/c/d") as inner,
            bind(tmp_path / "file", "/a/b/c/d/file") as file,
        ):
            ran = await box.shell("cat /a/b/c/d/file; ls -R /a", mounts=(outer, inner, file))
    assert ran.stdout.startswith("content\n")
    assert sorted(os.listdir(tmp_path / "outer")) == ["d"]
    assert sorted(os.listdir(tmp_path / "inner")) == ["file"]


async def test_a_mount_over_proc_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with open_box(tmp_path) as box:
        for target in ("/proc", "/proc/self", "/dev/fd/"):
            with bind(tmp_path / "data", target) as mount, pytest.raises(ExceptionGroup) as caught:
                await box.run("true", mounts=(mount,))
            assert caught.group_contains(
                (SpawnFailed, InvalidRequest), match=f"^mount {target}: E|{target}': inside /proc"
            )


async def test_a_missing_working_directory_is_made(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ran = await box.run("pwd", cwd="/deep/down/here")
        assert ran.stdout == "/deep/down/here\n"
        assert (box.root / "deep/down/here").is_dir()


async def test_limits_of_resources_hold(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ran = await box.shell(
            "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj",
            rlimits=(Rlimit(name="nofile", soft=5, hard=6),),
            oom_score_adj=321,
        )
    assert ran.stdout.split() == ["5", "6", "321"]


async def test_a_limit_that_the_kernel_refuses_is_named(tmp_path: Path) -> None:
    too_many = 2**31  # more than fs.nr_open can be
    async with open_box(tmp_path) as box:
        with pytest.raises(ExceptionGroup) as caught:
            await box.run("true", rlimits=(Rlimit(name="nofile", soft=1, hard=too_many),))
    assert caught.group_contains(LimitUnavailable, match="ulimit nofile cannot be set")


async def test_the_groups_limits_are_the_containers(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        ran = await box.shell(
            "for i in 1 2 3 4 5 6; do sleep 1000000 & done; echo never",
            limits=Limits(pids=4),
        )
    assert "can't fork" in ran.stderr
    assert ran.status.code != 0


async def test_a_container_out_of_memory_is_killed_and_told_so(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=16 << 20, memory_swap_bytes=16 << 20)
    async with open_box(tmp_path) as box:
        ran = await box.shell("exec tail -c 100000000 /dev/zero", limits=limits)
    assert (ran.status.signal, ran.status.oom_killed) == (signal.SIGKILL, True)


async def test_nothing_is_mounted_in_the_hosts_namespace(tmp_path: Path) -> None:
    mounts = trio.Path("/proc/self/mountinfo")
    before = await mounts.read_text()
    (tmp_path / "data").mkdir()
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        with bind(tmp_path / "data", "/data") as mount:
            _, output = await box.start(nursery, "mount; exec sleep 1000000", mounts=(mount,))
        assert b" on /data " in await output.receive_some(65536)
        assert await mounts.read_text() == before
        await box.driver.terminate("box")
    assert await mounts.read_text() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nope",), r'exec: "nope": executable file not found in \$PATH'),
        (("/nope",), r'exec: "/nope": stat /nope: no such file or directory'),
        (("/bin",), r'exec: "/bin": permission denied'),
        (("/script",), r'exec: "/script": no such file or directory \(the file is there'),
        (("/binary",), r'exec: "/binary": exec format error'),
        (("",), r'exec: "": executable file not found in \$PATH'),
    ],
)
async def test_a_command_that_cannot_be_executed_is_told_as_docker_does(
    tmp_path: Path, argv: tuple[str, ...], message: str
) -> None:
    async with open_box(tmp_path) as box:
        for name, content in (("script", b"#!/no/such\n"), ("binary", b"\x7fELF\0\0")):
            (box.root / name).write_bytes(content)
            (box.root / name).chmod(0o755)
        with pytest.raises(ExceptionGroup) as caught:
            await box.run(*argv)
    assert caught.group_contains(SpawnFailed, match=message)


async def test_descendants_end_with_the_main_process(tmp_path: Path) -> None:
    """Also those that left its session."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        _, output = await box.start(
            nursery, "setsid sleep 1000000 & (sleep 1000000 &) ; echo ready; read line; wait"
        )
        await output.receive_some()
        pids = await box.driver.pids("box")
        assert len(pids) >= 2
        await box.driver.terminate("box")
    assert all(is_dead(pid) for pid in pids)


async def test_arguments_may_be_longer_than_a_packet(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        long = "x" * 100_000
        ran = await box.run("sh", "-c", 'echo "$0$1" | wc -c', long, long)
    assert ran.stdout.strip() == "200001"
