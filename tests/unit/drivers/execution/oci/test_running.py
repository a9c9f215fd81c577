"""Containers of real runtimes while they run: further processes, pauses, limits, usage."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest
import trio
import trio.lowlevel

from drivers.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    InvalidRequest,
    LimitUnavailable,
    NotRunning,
)
from drivers.execution.base import (
    Started,
    WindowSize,
)
from drivers.execution.resources import Limits
from tests.cancel import cancel_everywhere
from tests.native import ENV, Box
from tests.unit.drivers.execution.oci.containers import (
    DEFAULT_CAPABILITIES,
    Exec,
    both,
    drain_terminal,
    read,
    running,
)


@both
async def test_one_more_process_is_in_the_same_world_and_its_exit_code_is_told(box: Box) -> None:
    names = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
    script = "".join(f"readlink /proc/self/ns/{name};" for name in names)
    async with running(box) as (started, execution):
        theirs = [os.readlink(f"/proc/{started.pid}/ns/{name}") for name in names]
        status = await execution.run("sh", "-c", f"{script} exit 9")
        assert (status.code, status.signal) == (9, None)
        assert (await execution.text()).split() == theirs


@both
async def test_a_process_that_ends_at_once_is_not_missed(box: Box) -> None:
    async with running(box) as (_, execution):
        assert [(await execution.run("sh", "-c", f"exit {n}")).code for n in range(5)] == [
            *range(5)
        ]


@both
async def test_a_process_has_its_own_user_environment_directory_and_input(box: Box) -> None:
    script = "cat; id -u; id -G; pwd; echo $A $HOME; grep Cap[EB] /proc/self/status"
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.write(writer, b"in\n")
    os.close(writer)
    async with running(box) as (_, execution):
        await execution.run(
            *("sh", "-c", script),
            stdin=reader,
            user="alice",
            cwd="/tmp",
            env=(*ENV, "A=1"),
        )
        words = (await execution.text()).split()
    os.close(reader)
    assert words[:7] == ["in", "1000", "1000", "10", "/tmp", "1", "/home/alice"]
    assert words[7:] == ["CapEff:", "0" * 16, "CapBnd:", DEFAULT_CAPABILITIES]


@both
async def test_a_missing_program_and_user_are_told_and_the_container_goes_on(box: Box) -> None:
    async with running(box) as (_, execution):
        with pytest.raises(CommandNotFound, match='exec: "nope": executable file not found in'):
            await execution.run("nope")
        with pytest.raises(CommandNotExecutable, match="permission denied"):
            await execution.run("/etc/passwd")
        with pytest.raises(InvalidRequest, match="unable to find user nobody-here"):
            await execution.run("true", user="nobody-here")
        with pytest.raises(InvalidRequest, match="no command"):
            await execution.run()
        assert (await execution.run("true")).code == 0


@both
async def test_a_cancelled_process_is_killed_alone(box: Box) -> None:
    async with running(box) as (started, execution):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                other = await nursery.start(execution.run, "sleep", "1000000")
                assert set(await box.driver.pids("box")) == {started.pid, other.pid}
                scope.cancel()
        assert await box.driver.pids("box") == [started.pid]


@both
async def test_a_process_ends_with_its_container(box: Box) -> None:
    ends = []
    async with running(box) as (_, execution), trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[Started]) -> None:
            ends.append(await execution.run("sleep", "1000000", task_status=task_status))

        await nursery.start(run)
        await box.driver.terminate("box")
        while True:  # it ends meanwhile, and is asked all the time
            try:
                await box.driver.kill("box", 0)
            except NotRunning:
                break
            await trio.lowlevel.checkpoint()
    assert [end.signal for end in ends] == [signal.SIGKILL]
    with pytest.raises(NotRunning):
        await Exec(box).run("true")


@both
async def test_a_process_cancelled_at_any_step_leaves_nothing(box: Box) -> None:
    async with running(box) as (started, execution):

        async def work() -> None:
            await execution.run("true")

        async def check() -> None:
            assert await box.driver.pids("box") == [started.pid]
            assert set(await box.keeper.kept()) == {"box"}

        await cancel_everywhere(work, check)


@both
async def test_paused_processes_stand_still_until_they_are_let_go(box: Box) -> None:
    async with trio.open_nursery() as nursery:
        script = "while :; do echo; sleep 0.01; done"
        _, output = await box.start(nursery, script)
        await read(output, 1)
        driver = box.driver
        await driver.pause("box")
        await driver.pause("box")
        with trio.move_on_after(0.3) as scope:  # what was written before is read, then no more
            while True:
                await output.receive_some()
        assert scope.cancelled_caught
        with pytest.raises(Conflict, match="container box is paused"):
            await Exec(box).run("true")
        await driver.unpause("box")
        await driver.unpause("box")
        await read(output, 1)
        await driver.pause("box")
        await driver.terminate("box")
        await output.aclose()


@both
async def test_limits_are_replaced_while_it_runs(box: Box) -> None:
    before = Limits(memory_bytes=64 << 20, memory_swap_bytes=64 << 20, pids=50)
    more = Limits(memory_bytes=128 << 20, memory_swap_bytes=256 << 20, nano_cpus=500_000_000)
    script = """
    cd /sys/fs/cgroup/memory 2>/dev/null && cat memory.limit_in_bytes ../pids/pids.max && exit
    cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"""
    async with running(box, limits=before) as (_, execution):
        await box.driver.update("box", more)
        await execution.run("sh", "-c", script)
        with pytest.raises(LimitUnavailable):
            await box.driver.update("box", Limits(cpuset_cpus="4000"))
        memory, pids = (await execution.text()).split()
    assert int(memory) == more.memory_bytes
    assert pids in ("max", str(2**22))


@both
async def test_what_it_uses_is_told(box: Box) -> None:
    limits = Limits(memory_bytes=64 << 20, pids=9)
    async with running(box, limits=limits) as (_, execution):
        before = await box.driver.stats("box")
        burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; cut -d' ' -f14,15 /proc/$$/stat"
        await execution.run("sh", "-c", burn)
        after = await box.driver.stats("box")
        ticks = sum(map(int, (await execution.text()).split()))
    burnt_usec = ticks * 1_000_000 // os.sysconf("SC_CLK_TCK")
    assert after.cpu.total_usec - before.cpu.total_usec >= 0.7 * burnt_usec
    assert (after.memory.limit_bytes, after.pids_limit) == (64 << 20, 9)
    assert after.memory.usage_bytes > 0
    assert (after.pids, after.networks) == (1, ())


@both
async def test_running_out_of_memory_is_told_when_it_happens(box: Box) -> None:
    told = trio.Event()
    limits = Limits(memory_bytes=16 << 20)
    async with running(box, limits=limits) as (_, execution), trio.open_nursery() as nursery:
        nursery.start_soon(box.driver.watch_oom, "box", told.set)
        assert (await execution.run("tail", "/dev/zero")).signal == signal.SIGKILL
        await told.wait()
        nursery.cancel_scope.cancel()


@both
async def test_one_more_process_can_have_a_terminal(box: Box) -> None:
    async with running(box) as (_, execution), trio.open_nursery() as nursery:
        window = WindowSize(rows=20, columns=70)
        started = await nursery.start(
            partial(execution.run, "sh", "-c", "sleep 0.05; stty size", terminal=window)
        )
    assert drain_terminal(started.terminal_fd).split() == ["20", "70"]
