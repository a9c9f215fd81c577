"""The keeper as a process of this host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio

from drivers.errors import Exhausted, KeeperLost, NotRunning, SpawnFailed
from drivers.execution import cgroup
from drivers.execution.native import NativeExecution
from drivers.keeper import launch
from drivers.keeper.client import open_keeper
from drivers.keeper.protocol import PACKET_BYTES
from tests.cancel import cancel_everywhere
from tests.native import Box, is_dead, open_box
from tests.shortage import without_descriptors

_DAEMON = """
import os, sys, trio
from pathlib import Path
from tests.cancel import cancel_everywhere
from tests.native import open_box

async def main():
    async with open_box(Path(sys.argv[1])) as box, trio.open_nursery() as nursery:
        started, _ = await box.start(nursery, "sleep 1000000")
        info = await box.driver.info("box")
        print(box.keeper.pid, started.pid, info.cgroup, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def _until_ended(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)


async def test_it_has_a_name_a_session_of_its_own_and_one_thread() -> None:
    async with open_keeper() as keeper:
        proc = Path(f"/proc/{keeper.pid}")
        assert (proc / "comm").read_text() == "creche-keeper\n"
        assert os.getsid(keeper.pid) == keeper.pid
        assert len(os.listdir(proc / "task")) == 1
        assert b"\0" not in (proc / "environ").read_bytes().rstrip(b"\0")


async def test_it_runs_from_memory_that_nobody_can_write_to() -> None:
    async with open_keeper() as keeper:
        exe = f"/proc/{keeper.pid}/exe"
        assert os.readlink(exe).startswith("/memfd:")
        with pytest.raises(OSError, match=r"Text file busy|not permitted"):
            os.close(os.open(exe, os.O_WRONLY))


async def test_it_imports_nothing_but_the_standard_library_and_the_kernel() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import drivers.keeper.main; "
        "print(*(n for n in sys.modules if n.split('.')[0] not in sys.stdlib_module_names))"
    )
    done = await trio.run_process(
        [launch.interpreter(), "-I", "-S", "-c", script, os.getcwd()], capture_stdout=True
    )
    ours = {name for name in done.stdout.decode().split() if name != "__main__"}
    assert ours <= {"drivers", "drivers.keeper", "drivers.kernel"} | {
        name for name in ours if name.startswith(("drivers.keeper.", "drivers.kernel."))
    }


async def test_signals_of_the_daemons_terminal_do_not_end_it() -> None:
    async with open_keeper() as keeper:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            os.kill(keeper.pid, number)
        assert await keeper.kept() == {}


async def test_it_ends_with_the_block() -> None:
    async with open_keeper() as keeper:
        pass
    assert is_dead(keeper.pid)


async def test_opening_it_cancelled_at_any_step_leaves_no_process() -> None:
    async def work() -> None:
        async with open_keeper() as keeper:
            await keeper.kept()

    async def check() -> None:
        assert psutil.Process().children() == []

    await cancel_everywhere(work, check)


async def test_what_a_keeper_says_after_its_end_is_that_it_is_lost() -> None:
    async with open_keeper() as keeper:
        os.kill(keeper.pid, signal.SIGKILL)
        await _until_ended(keeper.pid)
        with pytest.raises(KeeperLost):
            await keeper.kept()


async def test_a_message_for_which_there_is_no_descriptor_is_no_end_of_the_keeper() -> None:
    """ATTACKS 43: one that is too long for a packet travels in a descriptor."""
    long = "x" * PACKET_BYTES
    async with open_keeper() as keeper:
        with without_descriptors(), pytest.raises(Exhausted, match="ask the keeper"):
            await keeper.signal(long, 9)
        with pytest.raises(NotRunning):
            await keeper.signal(long, 9)


async def test_an_interpreter_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(KeeperLost, match="the keeper did not start"):
        async with open_keeper():
            pass


async def test_other_interpreters_of_this_host_can_be_the_keeper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    async with open_keeper() as keeper:
        assert await keeper.kept() == {}


async def test_the_death_of_the_daemon_ends_every_container(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        daemon: trio.Process = await nursery.start(
            partial(trio.run_process, stdout=subprocess.PIPE, check=False),
            [sys.executable, "-c", _DAEMON, str(tmp_path)],
        )
        assert daemon.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            line += await daemon.stdout.receive_some()
        daemon.kill()
    keeper, container, group = line.decode().split()
    await _until_ended(int(keeper))
    assert is_dead(int(container))
    await _remove_group(group)


async def _remove_group(group: str) -> None:
    """What a daemon does at its start for one that died."""
    parent, _, key = group.rpartition("/")
    async with open_keeper() as keeper:
        driver = NativeExecution(keeper, cgroup.detect(), parent)
        assert await driver.leftovers() == [key]
        await driver.clean(key)
        assert await driver.leftovers() == []
        await driver.close()


async def test_the_death_of_the_keeper_ends_the_runs_and_their_processes(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_box(tmp_path) as box:
            await _lose_keeper(box)
    assert caught.group_contains(KeeperLost)


async def _lose_keeper(box: Box) -> None:
    pid = 0
    try:
        async with trio.open_nursery() as nursery:
            started, _ = await box.start(nursery, "sleep 1000000")
            pid = started.pid
            os.kill(box.keeper.pid, signal.SIGKILL)
    finally:
        assert await box.driver.leftovers() == []
        assert is_dead(pid)
        await box.driver.close()


async def test_a_spawn_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        with trio.CancelScope() as scope:
            scope.cancel()
            await box.run("sleep", "1000000")
        assert await box.keeper.kept() == {}


async def test_a_failing_step_is_reported_by_name_and_cause(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box:
        with pytest.raises(ExceptionGroup) as caught:
            await box.run("true", hostname="x" * 65)
        assert caught.group_contains(SpawnFailed, match="^set hostname: EINVAL$")
