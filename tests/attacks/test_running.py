"""Attacks on the start and the end of a container. Each test names its line of ATTACKS.md."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import trio

from drivers.errors import InvalidRequest, SpawnFailed
from drivers.execution import cgroup
from drivers.execution.base import MountAt
from drivers.execution.defaults import DEFAULT_CAPABILITIES
from drivers.execution.resources import Limits
from drivers.keeper import launch
from tests.attacks.interpreter import lend_interpreter, libraries, standard_library
from tests.native import Box, bind, is_dead, open_box

_SHEBANG = """#!/proc/self/exe
import ctypes, os, struct
print("interpreter runs", flush=True)
exe = os.open("/proc/self/exe", os.O_PATH)
os.set_inheritable(exe, True)
libc = ctypes.CDLL(None)
writable = struct.pack("=4Q", 0, 1, 0, 0)  # struct mount_attr: clear MOUNT_ATTR_RDONLY
if libc.syscall(442, exe, b"", 0x1000, writable, 32) == 0:  # mount_setattr, AT_EMPTY_PATH
    print("remounted", flush=True)
if libc.mount(b"none", b"/proc/self/fd/%d" % exe, None, 0x1020, None) == 0:  # MS_REMOUNT | MS_BIND
    print("remounted", flush=True)
if libc.syscall(428, exe, b"", 0x1001) >= 0:  # open_tree, OPEN_TREE_CLONE | AT_EMPTY_PATH
    print("copied", flush=True)
for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
    try:
        os.write(os.open(f"/proc/self/fd/{exe}", flags), b"pwned")
        print("pwned", flush=True)
    except OSError:
        pass
# a text that is not busy any more: another program runs now
os.execv("/bin/sh", ["sh", "-c", f"echo pwned > /proc/self/fd/{exe} && echo pwned"])
"""


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def _run_shebang(box: Box, **options: object) -> str:
    await trio.to_thread.run_sync(lend_interpreter, box.root)
    entry = box.root / "entry"
    entry.write_text(_SHEBANG)
    entry.chmod(0o755)
    with standard_library() as mount:
        return (await box.run("/entry", mounts=(mount,), **options)).stdout


_MOUNTER = DEFAULT_CAPABILITIES | {"CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"}


@pytest.mark.parametrize(
    "options",
    [{}, {"capabilities": _MOUNTER, "seccomp": "unconfined"}],
    ids=["default", "may mount"],
)
async def test_an_entrypoint_cannot_overwrite_what_started_it(
    tmp_path: Path, options: dict[str, object]
) -> None:
    """ATTACKS 1: nor make it writable, whatever it may do."""
    host = [launch.interpreter(), *libraries(launch.interpreter())]
    before = [_digest(path) for path in host]
    async with open_box(tmp_path) as box:
        keeper = f"/proc/{box.keeper.pid}/exe"
        copy = _digest(keeper)
        output = await _run_shebang(box, **options)
        assert _digest(keeper) == copy
    assert output == "interpreter runs\n"
    assert [_digest(path) for path in host] == before


async def test_no_descriptor_of_the_host_can_be_the_working_directory(tmp_path: Path) -> None:
    """ATTACKS 2."""
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    async with open_box(tmp_path) as box:
        for number in range(3, 65):
            for cwd in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../.."):
                with pytest.raises(ExceptionGroup) as caught:
                    await box.run("pwd", cwd=cwd)
                assert caught.group_contains(SpawnFailed, match="change to working directory")
    os.close(leaked)


async def test_what_the_daemons_caller_leaked_does_not_reach_a_container(tmp_path: Path) -> None:
    """ATTACKS 2."""
    leaked = [os.open("/", os.O_RDONLY) for _ in range(5)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    async with open_box(tmp_path) as box:
        ran = await box.shell("ls /proc/$$/fd; :")
    for fd in leaked:
        os.close(fd)
    assert ran.stdout.split() == ["0", "1", "2"]


async def test_a_mount_target_cannot_lead_through_a_magic_link(tmp_path: Path) -> None:
    """ATTACKS 2, 7."""
    (tmp_path / "data").mkdir()
    async with open_box(tmp_path) as box:
        (box.root / "way").symlink_to("/proc/self/fd")
        for target in ("/proc/self/fd/5/x", "/way/5/x", "/proc/self/root/x", "/proc/self/attr"):
            with bind(tmp_path / "data", target) as mount, pytest.raises(ExceptionGroup) as caught:
                await box.run("true", mounts=(mount,))
            assert caught.group_contains(
                (SpawnFailed, InvalidRequest), match=f"^mount {target}: |{target}': inside /proc"
            )
        assert os.listdir(box.root / "proc") == []


async def test_links_in_a_mount_target_stay_in_the_root(tmp_path: Path) -> None:
    """ATTACKS 4, 10: what is made is made in the image, never on the host."""
    host = tmp_path / "host"
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("mine\n")
    async with open_box(tmp_path) as box:
        (box.root / str(host).lstrip("/")).mkdir(parents=True)
        (box.root / "up").symlink_to("../" * 20 + str(host))
        (box.root / "absolute").symlink_to(host)
        with (
            bind(tmp_path / "data", "/up/x") as first,
            bind(tmp_path / "file", "/absolute/y") as second,
        ):
            mounts: tuple[MountAt, ...] = (first, second)
            ran = await box.shell("cat /absolute/y", mounts=mounts)
        assert (box.root / str(host).lstrip("/") / "x").is_dir()
    assert ran.stdout == "mine\n"
    assert not host.exists()


async def test_a_mount_target_behind_a_dangling_link_is_refused(tmp_path: Path) -> None:
    """ATTACKS 10."""
    (tmp_path / "data").mkdir()
    async with open_box(tmp_path) as box:
        (box.root / "up").symlink_to(tmp_path / "host")
        with bind(tmp_path / "data", "/up/x") as mount, pytest.raises(ExceptionGroup) as caught:
            await box.run("true", mounts=(mount,))
        assert caught.group_contains(SpawnFailed, match="^mount /up/x: ENOENT")
    assert not (tmp_path / "host").exists()


async def test_an_images_dev_null_is_not_what_masks(tmp_path: Path) -> None:
    """ATTACKS 5."""
    async with open_box(tmp_path) as box:
        secret = box.root / "secret"
        secret.write_text("secret\n")
        (box.root / "dev/null").symlink_to("/secret")
        ran = await box.shell(
            "stat -c %t:%T /proc/keys /proc/timer_list /dev/null; cat /proc/keys;"
            "echo pwned > /proc/keys; echo pwned > /dev/null"
        )
        assert ran.stdout.split() == ["1:3"] * 3
        assert secret.read_text() == "secret\n"


async def test_a_masked_path_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """ATTACKS 5."""
    async with open_box(tmp_path) as box:
        (box.root / "hidden").symlink_to("/etc/passwd")
        with pytest.raises(ExceptionGroup) as caught:
            await box.run("true", masked_paths=("/hidden",))
        assert caught.group_contains(SpawnFailed, match="^mask /hidden: ELOOP")


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("kind", ["link", "link to the host", "file"])
async def test_a_mount_point_that_is_no_directory_is_refused(
    tmp_path: Path, name: str, kind: str
) -> None:
    """ATTACKS 8, 9."""
    async with open_box(tmp_path) as box:
        victim = box.root / "victim"
        victim.mkdir()
        (box.root / name).rmdir()
        if kind == "file":
            (box.root / name).touch()
        else:
            (box.root / name).symlink_to("/victim" if kind == "link" else "../" * 20 + "tmp")
        with pytest.raises(ExceptionGroup) as caught:
            await box.run("true")
        assert caught.group_contains(SpawnFailed, match=r"^mount (proc|sysfs|dev): (ELOOP|ENOTDIR)")
        assert list(victim.iterdir()) == []


@pytest.mark.parametrize("user", ["", "alice", "1000:1000", "4711"])
async def test_no_capability_can_be_inherited(tmp_path: Path, user: str) -> None:
    """ATTACKS 14."""
    async with open_box(tmp_path) as box:
        ran = await box.shell("grep -E 'CapInh|CapAmb' /proc/self/status", user=user)
    assert ran.stdout.split() == ["CapInh:", "0" * 16, "CapAmb:", "0" * 16]


async def test_the_primary_group_cannot_be_shaken_off(tmp_path: Path) -> None:
    """ATTACKS 14: a file that denies its group, but not others, denies a member."""
    async with open_box(tmp_path) as box:
        denied = box.root / "denied"
        denied.write_text("secret\n")
        os.chown(denied, 0, 1000)
        denied.chmod(0o604)
        ran = await box.shell("id -G; cat /denied", user="alice")
    assert ran.stdout == "1000 10\n"
    assert "Permission denied" in ran.stderr


async def test_a_fork_bomb_is_bounded_and_ends(tmp_path: Path) -> None:
    """ATTACKS 41."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        bomb = "echo ready; bomb() { bomb | bomb & bomb; }; bomb"
        _, output = await box.start(nursery, bomb, limits=Limits(pids=40))
        await output.receive_some()
        nursery.start_soon(_drain, output)
        pids = await box.driver.pids("box")
        assert len(pids) <= 40
        await box.driver.terminate("box")
    assert all(is_dead(pid) for pid in pids)


async def _drain(output: trio.lowlevel.FdStream) -> None:
    async for _ in output:
        pass


async def test_double_forked_daemons_end_with_the_container(tmp_path: Path) -> None:
    """ATTACKS 41."""
    script = """
        for i in 1 2 3; do
            (trap '' TERM INT HUP; setsid sh -c 'sleep 1000000 & echo daemon; wait' &) &
        done
        while :; do wait; sleep 1000000; done
    """
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        _, output = await box.start(nursery, script)
        said = b""
        while said.count(b"daemon") < 3:
            said += await output.receive_some()
        pids = await box.driver.pids("box")
        assert len(pids) >= 7
        await box.driver.terminate("box")
    assert all(is_dead(pid) for pid in pids)


@pytest.mark.parametrize("how", ["terminate", "cancel"])
async def test_a_frozen_container_ends(tmp_path: Path, how: str) -> None:
    """ATTACKS 41."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        started, output = await box.start(nursery, "echo ready; sleep 1000000; :")
        await output.receive_some()
        _freeze((await box.driver.info("box")).cgroup)
        if how == "terminate":
            await box.driver.terminate("box")
        else:
            nursery.cancel_scope.cancel()
    assert is_dead(started.pid)


def _freeze(group: str) -> None:
    hierarchy = cgroup.detect()
    directories = hierarchy.directories(group)
    if hierarchy.version == 2:
        (directories[""] / "cgroup.freeze").write_text("1")
    else:
        name = hierarchy.holding("freezer")
        assert name is not None
        (directories[name] / "freezer.state").write_text("FROZEN")
