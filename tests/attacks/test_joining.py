"""Attacks on a process that joins a container, and on its terminal. Each names its line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from drivers.errors import Conflict, InvalidRequest, SpawnFailed
from drivers.execution.base import Namespaces, Pipes, Process, Started, WindowSize
from drivers.execution.defaults import DEFAULT_CAPABILITIES
from drivers.keeper import launch
from drivers.kernel.calls import Call
from tests.attacks.interpreter import lend_interpreter, standard_library
from tests.native import ENV, Box, MappedBox, open_box

# Looks into every process that appears beside it, as fast as it can, and tells what it gets: the
# kernel asks for the same rights here as for ptrace, which would only slow it down.
_SPY = """
import os
own = int(open("/proc/self/status").read().split("CapPrm:")[1].split()[0], 16)
def look(pid):
    status = open(f"/proc/{pid}/status").read()
    if int(status.split("CapPrm:")[1].split()[0], 16) & ~own:
        yield "capabilities"
    for fd in os.listdir(f"/proc/{pid}/fd"):
        what = os.readlink(f"/proc/{pid}/fd/{fd}")
        # it enters the container's own group by itself, where no other process can be named
        if what.startswith("socket:") or (what.startswith("/") and not what.endswith(ALLOWED)):
            yield f"descriptor {what}"
    maps = open(f"/proc/{pid}/maps").read()
    if "creche-python" in maps or "[heap]" in maps and "creche-routine" in maps:
        yield "the keeper's memory"
ALLOWED = ("/dev/null", "/box/tasks", "/box/cgroup.procs")
print("ready", flush=True)
seen, looked = set(), 0
while True:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                for loot in look(int(name)):
                    if loot not in seen:
                        seen.add(loot)
                        print("LOOT", loot, flush=True)
                looked += 1
            except (OSError, IndexError):
                pass
    if looked > 20 and "looked" not in seen:
        seen.add("looked")
        print("looked into many", flush=True)
"""


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with open_box(tmp_path) as opened:
        yield opened


async def _exec(box: Box, *argv: str, **options: object) -> int:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        process = Process(key="box", argv=argv, env=ENV, **options)  # type: ignore[arg-type]
        status = await box.driver.exec(process, Pipes(stdin=null, stdout=null, stderr=null))
    finally:
        os.close(null)
    return status.code


@pytest.mark.parametrize("is_mapped", [False, True], ids=["host's ids", "own ids"])
@pytest.mark.parametrize("extra", [frozenset(), frozenset({"CAP_SYS_PTRACE"})])
async def test_a_joining_process_gives_nothing_to_who_looks_into_it(
    box: Box, extra: frozenset[str], is_mapped: bool
) -> None:
    """ATTACKS 3: whether or not the container may trace what it sees."""
    if is_mapped:
        box = MappedBox(box.driver, box.keeper, box.root)
    await trio.to_thread.run_sync(lend_interpreter, box.root)
    (box.root / "spy.py").write_text(_SPY)
    said = b""
    with standard_library() as stdlib:
        async with trio.open_nursery() as nursery:
            _, output = await box.start(
                nursery,
                f"exec {launch.interpreter()} -I -S /spy.py",
                mounts=(stdlib,),
                capabilities=DEFAULT_CAPABILITIES | extra,
            )
            while b"ready" not in said:
                said += await output.receive_some()
            for _ in range(100):
                assert await _exec(box, "true") in (0, 137)
            if extra and not is_mapped:  # else it sees nothing at all
                while b"looked into many" not in said:
                    await _exec(box, "sleep", "0.05")
                    with trio.move_on_after(0.1):
                        said += await output.receive_some()
            await box.driver.terminate("box")
    assert b"LOOT" not in said, said.decode()


@pytest.mark.parametrize("extra", [frozenset(), frozenset({"CAP_SYS_PTRACE", "CAP_SYS_ADMIN"})])
async def test_nor_does_a_container_that_shares_its_processes_and_ids(
    box: Box, extra: frozenset[str]
) -> None:
    """ATTACKS 3: it is among them from its first instruction."""
    box = MappedBox(box.driver, box.keeper, box.root)
    await trio.to_thread.run_sync(lend_interpreter, box.root)
    (box.root / "spy.py").write_text(_SPY)
    said = b""
    with standard_library() as stdlib:
        async with trio.open_nursery() as nursery:
            started, output = await box.start(
                nursery,
                f"exec {launch.interpreter()} -I -S /spy.py",
                mounts=(stdlib,),
                capabilities=DEFAULT_CAPABILITIES | extra,
            )
            pidfd = os.pidfd_open(started.pid)
            shared = Namespaces(pid=pidfd, user=pidfd, ipc=pidfd)
            while b"ready" not in said:
                said += await output.receive_some()
            for _ in range(50):
                ran = await box.run("true", key="other", namespaces=shared)
                assert ran.status.code in (0, 137)
            while b"looked into many" not in said:
                await box.run("sleep", "0.05", key="other", namespaces=shared)
                with trio.move_on_after(0.1):
                    said += await output.receive_some()
            os.close(pidfd)
            await box.driver.terminate("box")
    # its status is for everybody to read; what it has in its hands is not
    assert said.count(b"LOOT") == said.count(b"LOOT capabilities"), said.decode()


async def _refused_to_join(box: Box, pidfd: int) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await box.run("true", key="other", namespaces=Namespaces(pid=pidfd))
    assert caught.group_contains(Conflict, match="in which another container has CAP_SYS_PTRACE")


async def test_nor_does_one_beside_a_sidecar_that_may_look(box: Box) -> None:
    """ATTACKS 3: who may trace need not be the container that is joined."""
    await trio.to_thread.run_sync(lend_interpreter, box.root)
    (box.root / "spy.py").write_text(_SPY)
    said = b""
    with standard_library() as stdlib:
        async with trio.open_nursery() as nursery:
            first, _ = await box.start(nursery, "exec sleep 100000")
            pidfd = os.pidfd_open(first.pid)
            async with trio.open_nursery() as spying:
                _, output = await box.start(
                    spying,
                    f"exec {launch.interpreter()} -I -S /spy.py",
                    key="spy",
                    mounts=(stdlib,),
                    capabilities=DEFAULT_CAPABILITIES | {"CAP_SYS_PTRACE"},
                    namespaces=Namespaces(pid=pidfd),
                )
                while b"ready" not in said:
                    said += await output.receive_some()
                while b"looked into many" not in said:
                    assert await _exec(box, "true") == 0
                    with trio.move_on_after(0.01):
                        said += await output.receive_some()
                await _refused_to_join(box, pidfd)
                await box.driver.terminate("spy")
            ran = await box.run("true", key="other", namespaces=Namespaces(pid=pidfd))
            assert ran.status.code == 0
            os.close(pidfd)
            await box.driver.terminate("box")
    assert b"LOOT" not in said, said.decode()


async def test_no_container_is_made_before_the_eyes_of_one_that_may_look(box: Box) -> None:
    """ATTACKS 3."""
    async with trio.open_nursery() as nursery:
        may_trace = DEFAULT_CAPABILITIES | {"CAP_SYS_PTRACE"}
        first, _ = await box.start(nursery, "exec sleep 100000", capabilities=may_trace)
        pidfd = os.pidfd_open(first.pid)
        await _refused_to_join(box, pidfd)
        os.close(pidfd)
        assert (await box.run("true", key="other")).status.code == 0
        await box.driver.terminate("box")


async def test_no_descriptor_of_the_host_can_be_a_joining_working_directory(box: Box) -> None:
    """ATTACKS 2."""
    async with trio.open_nursery() as nursery:
        await box.start(nursery, "sleep 1000000")
        for number in range(3, 65):
            for cwd in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../.."):
                with pytest.raises(SpawnFailed, match="change to working directory"):
                    await _exec(box, "true", cwd=cwd)
        await box.driver.terminate("box")


async def test_a_joining_process_has_three_descriptors_and_no_more(box: Box) -> None:
    """ATTACKS 2."""
    # by the shell alone: it opens others for a pipeline, a redirection or a pattern
    script = (
        'n=0; while [ $n -lt 256 ]; do [ -e /proc/$$/fd/$n ] && a="$a $n"; n=$((n + 1)); done;'
        "echo $a >/out"
    )
    async with trio.open_nursery() as nursery:
        await box.start(nursery, "sleep 1000000")
        assert await _exec(box, "sh", "-c", script) == 0
        await box.driver.terminate("box")
    assert (box.root / "out").read_text().split() == ["0", "1", "2"]


async def _terminal_of(box: Box, script: str, nursery: trio.Nursery) -> Started:
    with contextlib.ExitStack() as held:
        command = box.command(held, "sh", "-c", script, terminal=WindowSize(rows=24, columns=80))
        started: Started = await nursery.start(
            box.driver.run,
            command.key,
            lambda: command,
            Pipes(stdin=-1, stdout=-1, stderr=-1),
        )
    return started


async def _read_to_end(master: int) -> str:
    said = b""
    while True:
        await trio.lowlevel.wait_readable(master)
        try:
            said += os.read(master, 4096)
        except OSError:  # EIO: nobody has the other end any more
            os.close(master)
            return said.decode()


async def test_a_swapped_dev_pts_does_not_become_the_console(box: Box) -> None:
    """ATTACKS 6: the image's names are not looked up for the console."""
    victim = box.root / "victim"
    victim.write_text("untouched\n")
    for name in ("dev/pts", "dev/console"):
        with contextlib.suppress(FileNotFoundError):
            (box.root / name).unlink()
    (box.root / "dev/pts").mkdir()
    (box.root / "dev/pts/0").symlink_to("/victim")
    (box.root / "dev/console").symlink_to("/victim")
    async with trio.open_nursery() as nursery:
        started = await _terminal_of(
            box, "echo pwned >/dev/console; tty; stat -c %t:%T /dev/console", nursery
        )
        assert started.terminal_fd is not None
        said = await _read_to_end(started.terminal_fd)
    assert said.split() == ["pwned", "/dev/pts/0", "88:0"]
    assert victim.read_text() == "untouched\n"


@pytest.mark.parametrize(
    "swap",
    [
        "rm -rf /dev/pts; ln -s /other /dev/pts",
        "mv /dev/pts /dev/gone; mkdir /dev/pts; touch /dev/pts/ptmx",
        "mv /dev/pts /dev/gone; mkdir /dev/pts; mknod /dev/pts/ptmx c 1 3",
        "mv /dev/pts /dev/gone; mkdir /dev/pts; mkfifo /dev/pts/ptmx",
    ],
)
async def test_a_swapped_dev_pts_gives_no_terminal_to_a_joining_process(
    box: Box, swap: str
) -> None:
    """ATTACKS 6: what stands there is looked at before it is opened."""
    # a mount cannot be moved by the container; an image without one is as good
    script = f"umount /dev/pts; {swap}; echo ready; sleep 1000000"
    capabilities = DEFAULT_CAPABILITIES | {"CAP_SYS_ADMIN"}
    async with trio.open_nursery() as nursery:
        _, output = await box.start(nursery, script, capabilities=capabilities)
        said = b""
        while b"ready" not in said:
            said += await output.receive_some()
        with pytest.raises(InvalidRequest, match="/dev/pts"):
            await _exec(box, "true", terminal=WindowSize())
        await box.driver.terminate("box")


_PUSH = """
import ctypes, errno, fcntl, os
libc = ctypes.CDLL(None, use_errno=True)
for request in (0x5412, 0x5412 | 1 << 32):  # TIOCSTI, and with bits that the kernel drops
    for fd in (0, 1, 2):
        done = libc.syscall(ctypes.c_long(IOCTL), fd, ctypes.c_ulong(request), b"x")
        print(errno.errorcode.get(ctypes.get_errno()) if done else "pushed", flush=True)
try:
    os.open("/dev/tty", os.O_RDWR)
    print("has a terminal")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


async def test_nothing_can_be_pushed_into_a_terminal_of_the_host(box: Box) -> None:
    """ATTACKS 12: even one that is a container's stream is not its controlling terminal."""
    await trio.to_thread.run_sync(lend_interpreter, box.root)
    (box.root / "push.py").write_text(_PUSH.replace("IOCTL", str(int(Call.IOCTL))))
    ours, theirs = os.openpty()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    argv = (launch.interpreter(), "-I", "-S", "/push.py")
    with standard_library() as stdlib, contextlib.ExitStack() as held:
        command = box.command(held, *argv, mounts=(stdlib,))
        status = await box.driver.run(
            command.key, lambda: command, Pipes(stdin=theirs, stdout=writer, stderr=theirs)
        )
    os.close(writer)
    said = os.read(reader, 1000).decode().split()
    os.set_blocking(theirs, False)
    with pytest.raises(BlockingIOError):
        os.read(theirs, 1)
    for fd in (ours, theirs, reader):
        os.close(fd)
    assert status.code == 0
    assert said == ["EPERM", "ENOTTY", "EPERM"] * 2 + ["ENXIO"]
