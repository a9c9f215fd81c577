"""Processes that wait for the kernel, and memory that is used up: what is left is told honestly."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from drivers.errors import DriverError
from drivers.execution import cgroup, freezer
from drivers.execution.cgroup import ControlGroup
from drivers.execution.hierarchy import Hierarchy
from drivers.execution.resources import Limits
from drivers.execution.stuck import explain_stuck
from tests.cgroups import both, eventually, open_group, running_in
from tests.native import Box, bind, is_dead, open_box
from tests.stuck import silent_filesystem
from tests.system.daemon import PATIENCE_S, Daemon

on_both = pytest.mark.parametrize("hierarchy", both(), ids=lambda h: f"v{h.version}")


@contextlib.asynccontextmanager
async def _stuck_in(
    group: ControlGroup, path: Path, *, also: str = ""
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process of a group that waits for the kernel until the block ends."""
    with silent_filesystem(path) as silent:
        async with running_in(group, f"{also} exec cat {silent.path}/file") as process:
            try:
                await eventually(silent.asked.is_set)
                yield process
            finally:
                silent.abort()


@on_both
async def test_what_waits_for_the_kernel_is_named_when_it_cannot_be_paused(
    hierarchy: Hierarchy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ATTACKS 41."""
    monkeypatch.setattr(freezer, "FREEZE_S", 2.0)
    busy = "while :; do :; done &"
    async with (
        open_group(hierarchy) as group,
        _stuck_in(group, tmp_path / "silent", also=busy) as process,
    ):
        told = rf"can be paused: \[{process.pid}\] wait for the kernel"
        with pytest.raises(DriverError, match=told):
            await group.freeze()
        [other] = set(group.pids()) - {process.pid}
        before = _ticks(other)
        await eventually(lambda: _ticks(other) > before)  # nothing stays frozen


def _ticks(pid: int) -> int:
    """The processor time of a process so far. Source: proc_pid_stat(5), field 14."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


@on_both
async def test_what_waits_for_the_kernel_is_named_when_it_cannot_be_killed(
    hierarchy: Hierarchy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ATTACKS 41."""
    monkeypatch.setattr(cgroup, "REMOVE_S", 0.3)
    async with (
        open_group(hierarchy) as group,
        _stuck_in(group, tmp_path / "silent") as process,
    ):
        group.kill()
        await eventually(lambda: explain_stuck([process.pid]))
        pid = re.escape(f"[{process.pid}]")
        told = f"processes {pid} do not end: {pid} wait for the kernel"
        with pytest.raises(DriverError, match=told):
            await group.remove()
        assert process.poll() is None


async def test_a_container_that_cannot_end_ends_when_the_kernel_answers(tmp_path: Path) -> None:
    """ATTACKS 41."""
    async with open_box(tmp_path) as box:
        with silent_filesystem(tmp_path / "silent") as silent, bind(silent.path, "/silent") as at:
            async with trio.open_nursery() as nursery:
                started, _ = await box.start(
                    nursery, "cat /silent/file & exec sleep 1000000", mounts=(at,)
                )
                await eventually(silent.asked.is_set)
                pids = await box.driver.pids("box")
                await box.driver.terminate("box")
                await trio.sleep(0.1)  # nothing tells that a process does not end
                left = await box.driver.pids("box")
                assert left
                assert set(left) <= set(pids)
                assert (await box.driver.info("box")).pid == started.pid
                silent.abort()
        assert all(is_dead(pid) for pid in pids)


async def test_a_frozen_group_of_the_containers_own_cannot_keep_it(tmp_path: Path) -> None:
    """ATTACKS 41."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        _, output = await box.start(nursery, "sleep 1000000 & echo ready; wait")
        await output.receive_some()
        own = _make_frozen_group_below(await _group_of(box), (await box.driver.pids("box"))[-1])
        await box.driver.terminate("box")
    assert not own.exists()


async def _group_of(box: Box) -> Path:
    hierarchy = cgroup.detect()
    name = hierarchy.holding("freezer")
    assert name is not None
    return hierarchy.directories((await box.driver.info("box")).cgroup)[name]


def _make_frozen_group_below(group: Path, pid: int) -> Path:
    own = group / "own"
    own.mkdir()
    (own / "cgroup.procs").write_text(str(pid))
    file = own / "cgroup.freeze"
    if file.exists():
        file.write_text("1")
    else:
        (own / "freezer.state").write_text("FROZEN")
    return own


async def test_a_child_that_takes_all_memory_is_killed_and_its_parent_lives_on(
    tmp_path: Path,
) -> None:
    """ATTACKS 43."""
    told: list[bool] = []
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        script = "tail /dev/zero; echo survived; read _; exit 5"
        limits = Limits(memory_bytes=16 << 20)
        _, output = await box.start(nursery, script, limits=limits)
        nursery.start_soon(box.driver.watch_oom, "box", lambda: told.append(True))
        said = b""
        while b"survived" not in said:
            said += await output.receive_some()
        await eventually(lambda: told)
        assert (await box.driver.stats("box")).memory.oom_kills == 1
        await box.driver.terminate("box")
    assert told == [True]


async def test_memory_outside_the_limit_is_not_touched(tmp_path: Path) -> None:
    """ATTACKS 43: the keeper and other containers live on when one runs out of memory."""
    async with open_box(tmp_path) as box:
        async with trio.open_nursery() as nursery:
            _, output = await box.start(nursery, "echo ready; exec sleep 1000000", key="other")
            await output.receive_some()
            ran = await box.shell("exec tail /dev/zero", limits=Limits(memory_bytes=16 << 20))
            assert (ran.status.code, ran.status.oom_killed) == (137, True)
            assert await box.driver.pids("other")
            assert (await box.driver.stats("other")).memory.oom_kills == 0
            await box.driver.terminate("other")
        assert (await box.shell("exit 3")).status.code == 3


def test_a_client_is_told_what_could_not_be_ended_and_that_it_is_there_yet(
    creched: Daemon, tmp_path: Path
) -> None:
    """ATTACKS 41."""
    with silent_filesystem(tmp_path / "silent") as silent:
        script = "cat /silent/file & echo begun; exec sleep 1000000"
        run = ("run", "-d", "--name", "stuck", "-v", f"{silent.path}:/silent")
        creched.docker(*run, "busybox", "sh", "-c", script, check=True)
        assert silent.asked.wait(PATIENCE_S)
        with creched.docker_begun("rm", "-f", "stuck") as removing:
            stopped = creched.docker("stop", "-t", "1", "stuck")
            assert removing.wait(PATIENCE_S) == 1
        assert stopped.returncode == 1
        told = r"container stuck: processes \[.*\d+\] do not end after SIGKILL: they wait for"
        assert re.search(told, stopped.stderr), stopped.stderr
        # the daemon has all else to do, and the container is not said to be gone
        ran = creched.docker("run", "--rm", "busybox", "echo", "meanwhile", check=True)
        assert ran.stdout == "meanwhile\n"
        shown = creched.docker("ps", "--format", "{{.Names}}", check=True).stdout
        assert "stuck" in shown.split()
        silent.abort()
    creched.docker("wait", "stuck", check=True)
    assert creched.docker("logs", "stuck", check=True).stdout == "begun\n"
    creched.docker("rm", "stuck", check=True)


def test_a_bind_that_never_answers_holds_up_nobody_else(creched: Daemon, tmp_path: Path) -> None:
    """ATTACKS 41: its start waits for the kernel, in a thread."""
    source = tmp_path / "silent/source"
    source.mkdir(parents=True)
    bind = f"{source}:/silent"
    creched.docker("create", "--name", "waits", "-v", bind, "busybox", "true", check=True)
    with (
        silent_filesystem(source.parent) as silent,
        creched.docker_begun("start", "waits") as starting,
    ):
        assert silent.asked.wait(PATIENCE_S)
        ran = creched.docker("run", "--rm", "busybox", "echo", "meanwhile", check=True)
        assert ran.stdout == "meanwhile\n"
        assert starting.poll() is None
        silent.abort()
        assert starting.wait(PATIENCE_S) == 1
    creched.docker("start", "-a", "waits", check=True)
    creched.docker("rm", "waits", check=True)


def test_a_new_daemon_starts_beside_what_a_killed_one_could_not_end(
    fresh_creched: Daemon, tmp_path: Path
) -> None:
    """ATTACKS 41."""
    daemon = fresh_creched
    with silent_filesystem(tmp_path / "silent") as silent:
        script = "cat /silent/file & echo begun; exec sleep 1000000"
        run = ("run", "-d", "--name", "stuck", "-v", f"{silent.path}:/silent")
        daemon.docker(*run, "busybox", "sh", "-c", script, check=True)
        daemon.docker("create", "--name", "other", "busybox", "echo", "other", check=True)
        assert silent.asked.wait(PATIENCE_S)
        assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        daemon.start()
        assert re.search(r"processes \[.*\d+\] do not end.*wait for the kernel", daemon.log)
        assert daemon.docker("start", "-a", "other", check=True).stdout == "other\n"
        again = daemon.docker("start", "stuck")
        assert (again.returncode, "do not end" in again.stderr) == (1, True)
        silent.abort()
    daemon.docker("rm", "stuck", check=True)
    daemon.stop()
    daemon.start()  # which finds and removes the group
