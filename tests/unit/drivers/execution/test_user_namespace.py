"""Containers of the native driver in user namespaces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from drivers.errors import DriverError, InvalidRequest
from drivers.execution.base import (
    Device,
    IdMap,
    IdRange,
    Pipes,
    Process,
    Rlimit,
    Started,
    WindowSize,
)
from tests.cancel import cancel_everywhere
from tests.native import ENV, IDS, Box, bind, open_box, open_mapped_box

_START = IDS.uids[0].host_id


async def test_the_command_is_root_of_its_own_ids_only(tmp_path: Path) -> None:
    async with open_mapped_box(tmp_path) as box:
        ran = await box.shell("id -u; cat /proc/self/uid_map /proc/self/gid_map; echo x >/made")
        assert ran.stdout.split() == ["0", *["0", str(_START), "65536"] * 2]
        made = (box.root / "made").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)


async def test_on_the_host_it_is_an_ordinary_user(tmp_path: Path) -> None:
    async with open_mapped_box(tmp_path) as box, trio.open_nursery() as nursery:
        for key, user, uid in (("root", "", _START), ("alice", "alice", _START + 1000)):
            started, _ = await box.start(nursery, "exec sleep 1000000", key=key, user=user)
            status = await trio.Path(f"/proc/{started.pid}/status").read_text()
            assert status.split("Uid:\t")[1].split("\n")[0].split() == [str(uid)] * 4
            await box.driver.terminate(key)


async def test_it_is_confined_as_any_other(tmp_path: Path) -> None:
    script = (
        "grep -E '^(CapEff|CapBnd|CapInh|Seccomp):' /proc/self/status;"
        "mount -t tmpfs x /tmp; unshare -U true; echo x >/proc/sysrq-trigger; ls /proc/acpi /sys"
        " >/dev/null; cat /proc/kcore | wc -c; mount | grep -c ' on /sys/fs/cgroup'"
    )
    async with open_mapped_box(tmp_path) as box:
        ran = await box.shell(script)
    lines = ran.stdout.split()
    assert lines[:6] == [
        *("CapInh:", "0" * 16, "CapEff:", "00000000a80425fb", "CapBnd:", "00000000a80425fb")
    ]
    assert lines[6:8] == ["Seccomp:", "2"]
    assert lines[8] == "0"
    assert int(lines[9]) > 0
    for refused in ("mount: permission denied", "unshare(0x10000000)", "/proc/sysrq-trigger"):
        assert refused in ran.stderr


async def test_it_has_devices_and_streams_that_it_can_open_again(tmp_path: Path) -> None:
    tun = Device(path="/dev/net/tun", kind="c", major=10, minor=200, mode=0o600, gid=100_000)
    script = (
        "echo a >/dev/null; head -c 2 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c;"
        "stat -c '%a %u:%g %t' /dev/null /dev/net/tun /dev /dev/shm /dev/pts;"
        "cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr; readlink /dev/fd"
    )
    for user in ("", "alice"):
        async with open_mapped_box(tmp_path / f"of{user}") as box:
            ran = await box.run("sh", "-c", script, stdin=b"in\n", user=user, devices=(tun,))
        assert ran.stdout.splitlines() == [
            *("2", "2", "666 0:0 1", "600 0:0 a"),
            *("755 0:0 0", "1777 0:0 0", "755 0:0 0"),
            *("in", "out", "/proc/self/fd"),
        ]
        assert ran.stderr == "err\n"


async def test_a_device_beside_dev_is_refused(tmp_path: Path) -> None:
    device = Device(path="/dev/../x", kind="c", major=1, minor=3)
    async with open_mapped_box(tmp_path) as box:
        with pytest.raises(ExceptionGroup) as caught:
            await box.run("true", devices=(device,))
        assert not (box.root / "x").exists()
    assert caught.group_contains(InvalidRequest, match="must be below /dev")


async def _read_until(terminal: Started, end: bytes) -> list[bytes]:
    """The words that a terminal shows up to an end; it is closed then."""
    fd, said = terminal.terminal_fd, b""
    assert fd is not None
    while end not in said:
        await trio.lowlevel.wait_readable(fd)
        said += os.read(fd, 4096)
    os.close(fd)
    return said.split()


@pytest.mark.parametrize("user", ["", "alice"])
async def test_its_terminals_are_its_users(tmp_path: Path, user: str) -> None:
    script = "tty; stat -c '%u %g' $(tty); echo x >$(tty); echo y >/dev/tty; exec sleep 1000000"
    async with open_mapped_box(tmp_path) as box, trio.open_nursery() as nursery:
        started, stream = await box.start(nursery, script, user=user, terminal=WindowSize())
        said = await _read_until(started, b"y\r\n")
        assert said == [b"/dev/pts/0", b"1000" if user else b"0", b"5", b"x", b"y"]
        await box.driver.terminate("box")
        await stream.aclose()


async def _exec(box: Box, *argv: str, **options: Any) -> tuple[int, str]:
    """The exit code of one more process, and what it wrote."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    process = Process(key="box", argv=argv, env=ENV, **options)
    try:
        status = await box.driver.exec(process, Pipes(stdin=null, stdout=writer, stderr=writer))
    finally:
        os.close(writer)
        os.close(null)
        with os.fdopen(reader) as file:
            text = file.read()
    return status.code, text


async def test_a_further_process_has_the_same_ids(tmp_path: Path) -> None:
    script = "id -u; readlink /proc/self/ns/user; echo x >/dev/stdout; echo y >/made.$(id -u)"
    async with open_mapped_box(tmp_path) as box, trio.open_nursery() as nursery:
        started, _ = await box.start(nursery, "chmod 777 /; exec sleep 1000000")
        namespace = os.readlink(f"/proc/{started.pid}/ns/user")
        assert namespace != os.readlink("/proc/self/ns/user")
        for user, uid in (("", 0), ("alice", 1000)):
            code, text = await _exec(box, "sh", "-c", script, user=user)
            assert (code, text.split()) == (0, [str(uid), namespace, "x"])
            assert (box.root / f"made.{uid}").stat().st_uid == uid
        with pytest.raises(InvalidRequest, match="user id 70000 is not mapped"):
            await _exec(box, "true", user="70000")
        await box.driver.terminate("box")


async def test_a_further_process_has_a_terminal_of_its_own(tmp_path: Path) -> None:
    async with open_mapped_box(tmp_path) as box, trio.open_nursery() as nursery:
        await box.start(nursery, "exec sleep 1000000")
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        argv = ("sh", "-c", "stat -c %u $(tty); echo x >/dev/tty; exec sleep 1000000")
        process = Process(key="box", argv=argv, env=ENV, user="alice", terminal=WindowSize())
        pipes = Pipes(stdin=null, stdout=null, stderr=null)
        started = await nursery.start(box.driver.exec, process, pipes)
        os.close(null)
        assert await _read_until(started, b"x\r\n") == [b"1000", b"x"]
        await box.driver.terminate("box")


async def test_parameters_limits_and_mounts_are_as_asked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").write_text("mine\n")
    script = (
        "cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj; ulimit -n; cat /data/mine;"
        "stat -c %u /data/mine; hostname; cat /sys/class/net/lo/carrier; pwd"
    )
    async with open_mapped_box(tmp_path) as box:
        with bind(tmp_path / "data", "/data") as at:
            ran = await box.shell(
                script, sysctls=(("net.ipv4.ip_forward", "1"),), oom_score_adj=321, mounts=(at,),
                rlimits=(Rlimit(name="nofile", soft=50, hard=60),), hostname="crib", cwd="/new",
            )  # fmt: skip
        assert (box.root / "new").stat().st_uid == 0
    assert ran.stdout.split() == ["1", "321", "50", "mine", "65534", "crib", "1", "/new"]


async def test_an_id_that_is_not_mapped_is_refused(tmp_path: Path) -> None:
    few = (IdRange(container_id=0, host_id=_START, size=3),)
    async with open_mapped_box(tmp_path) as box:
        for options in ({"user": "3"}, {"user": "1:4"}, {"group_add": ("10",)}):
            with pytest.raises(ExceptionGroup) as caught:
                await box.run("true", id_map=IdMap(uids=few, gids=few), **options)
            assert caught.group_contains(InvalidRequest, match="is not mapped")
        ran = await box.run("id", "-u", id_map=IdMap(uids=few, gids=few), user="2")
    assert ran.stdout == "2\n"  # although there is no group 5 for terminals


async def test_a_map_that_the_kernel_refuses_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    """The kernel takes 340 lines."""
    many = tuple(IdRange(container_id=n, host_id=_START + n, size=1) for n in range(341))
    async with open_box(tmp_path) as box:
        for _ in range(3):
            with pytest.raises(ExceptionGroup) as caught:
                await box.run("true", id_map=IdMap(uids=many, gids=many))
            assert caught.group_contains(DriverError, match="user namespace .*: invalid argument")
        assert await box.keeper.kept() == {}


async def test_many_start_at_once(tmp_path: Path) -> None:
    async with open_mapped_box(tmp_path) as box, trio.open_nursery() as nursery:

        async def run(number: int) -> None:
            ran = await box.shell("id -u; exit 3", key=f"box-{number}")
            assert (ran.stdout, ran.status.code) == ("0\n", 3)

        for number in range(20):
            nursery.start_soon(run, number)


async def test_cancelled_at_any_step_nothing_is_left(tmp_path: Path) -> None:
    async with open_mapped_box(tmp_path) as box:
        before = set(os.listdir("/proc/self/fd"))

        async def check() -> None:
            assert await box.keeper.kept() == {}
            assert set(os.listdir("/proc/self/fd")) == before
            assert await box.driver.leftovers() == []

        await cancel_everywhere(lambda: box.run("true"), check)
