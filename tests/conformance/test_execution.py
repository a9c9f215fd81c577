"""What every execution driver does, whatever it is made of."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from drivers import registry
from drivers.errors import (
    AlreadyExists,
    CommandNotExecutable,
    CommandNotFound,
    InvalidRequest,
    LimitUnavailable,
    NotRunning,
)
from drivers.execution.base import ExecutionDriver, WindowSize
from drivers.execution.resources import Limits
from tests.cancel import cancel_everywhere
from tests.cgroups import eventually
from tests.conformance.harness_execution import (
    BUSY,
    DEAF,
    EXIT_3,
    FOREVER,
    HOGS,
    MISSING,
    NOT_EXECUTABLE,
    OBEYS,
    ROWS,
    SPEAKS,
    TRUE,
    ClosesTerminal,
    Rig,
)


@pytest.fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with request.param.open(tmp_path) as opened:
        yield opened


PATIENCE_S = 60.0  # a bound for what hangs, far beyond what a slow machine needs


def drivers(*, with_: str = "") -> pytest.MarkDecorator:
    """Every driver, or those that do not lack something."""
    rows = [row for row in ROWS if with_ not in row.lacks]
    return pytest.mark.parametrize("rig", rows, indirect=True, ids=[row.name for row in rows])


async def _raises_not_running(driver: ExecutionDriver) -> None:
    for ask in (
        driver.kill("k", signal.SIGTERM),
        driver.terminate("k"),
        driver.pids("k"),
        driver.info("k"),
        driver.pause("k"),
        driver.unpause("k"),
        driver.stats("k"),
        driver.update("k", Limits()),
        driver.watch_oom("k", lambda: None),
    ):
        with pytest.raises(NotRunning):
            await ask


def test_every_registered_driver_has_a_row() -> None:
    assert set(registry.BUILT_IN["execution"]) <= {row.name for row in ROWS}


@drivers()
async def test_the_exit_code_is_the_commands(rig: Rig) -> None:
    assert (await rig.run(TRUE)).code == 0
    status = await rig.run(EXIT_3)
    assert (status.code, status.signal, status.oom_killed) == (3, None, False)


@drivers()
async def test_output_goes_to_the_stream_it_was_written_to(rig: Rig) -> None:
    out, stdout = os.pipe2(os.O_CLOEXEC)
    err, stderr = os.pipe2(os.O_CLOEXEC)
    await rig.run(SPEAKS, stdout=stdout, stderr=stderr)
    for fd in (stdout, stderr):
        os.close(fd)
    assert (os.read(out, 100), os.read(err, 100)) == (b"out\n", b"err\n")
    for fd in (out, err):
        os.close(fd)


@drivers()
async def test_start_tells_the_identity_that_info_tells(rig: Rig) -> None:
    async with trio.open_nursery() as nursery:
        started = await nursery.start(rig.run, FOREVER)
        info = await rig.driver.info("k")
        assert (info.pid, info.start_time_ticks) == (started.pid, started.start_time_ticks)
        assert "k" in info.cgroup
        assert started.pid in await rig.driver.pids("k")
        await rig.driver.terminate("k")


@drivers()
async def test_a_signal_that_kills_is_told_as_signal_and_code(rig: Rig) -> None:
    async with rig.ready(FOREVER) as ends:
        await rig.driver.kill("k", signal.SIGKILL)
    assert [(end.code, end.signal) for end in ends] == [(137, signal.SIGKILL)]


@drivers()
async def test_an_ignored_signal_does_not_end_the_command(rig: Rig) -> None:
    async with rig.ready(DEAF) as ends:
        await rig.driver.kill("k", signal.SIGTERM)
        await rig.driver.info("k")
        await rig.driver.kill("k", signal.SIGKILL)
    assert [end.signal for end in ends] == [signal.SIGKILL]


@drivers()
async def test_terminate_ends_what_ignores_signals(rig: Rig) -> None:
    async with rig.ready(DEAF) as ends:
        await rig.driver.terminate("k")
    assert [end.code for end in ends] == [137]


@drivers()
async def test_a_missing_command_is_not_found_and_never_started(rig: Rig) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(CommandNotFound, match=r'exec: "nope": executable file not found in'):
            await nursery.start(rig.run, MISSING)
    await _raises_not_running(rig.driver)


@drivers()
async def test_a_file_that_may_not_be_executed_is_told_apart_from_a_missing_one(rig: Rig) -> None:
    with pytest.raises(CommandNotExecutable, match="permission denied") as caught:
        await rig.run(NOT_EXECUTABLE)
    assert caught.value.exit_code == 126


@drivers()
async def test_no_command_is_an_invalid_request(rig: Rig) -> None:
    with pytest.raises(InvalidRequest, match="no command specified"):
        await rig.run(())


@drivers(with_="users")
async def test_an_unknown_user_is_an_invalid_request(rig: Rig) -> None:
    with pytest.raises(InvalidRequest, match="unable to find user nobody-here"):
        await rig.run(TRUE, user="nobody-here")


@drivers(with_="usage")
async def test_the_end_tells_what_the_command_used(rig: Rig) -> None:
    status = await rig.run(TRUE)
    assert status.cpu_usec > 0
    assert status.max_rss_bytes > 0


@drivers()
async def test_a_live_key_cannot_be_run_again_and_a_free_one_can(rig: Rig) -> None:
    async with rig.ready(FOREVER):
        with pytest.raises(AlreadyExists):
            await rig.run(TRUE)
        await rig.driver.terminate("k")
    assert (await rig.run(TRUE)).code == 0


@drivers()
async def test_a_key_that_is_not_live_is_not_running(rig: Rig) -> None:
    await _raises_not_running(rig.driver)
    await rig.run(TRUE)
    await _raises_not_running(rig.driver)


@drivers(with_="pause")
async def test_a_paused_command_takes_its_signals_when_it_goes_on(rig: Rig) -> None:
    async with rig.ready(OBEYS) as ends:
        await rig.driver.pause("k")
        await rig.driver.pause("k")
        await rig.driver.kill("k", signal.SIGTERM)
        await trio.sleep(0.05)  # nothing tells that a signal does not arrive
        assert ends == []
        await rig.driver.unpause("k")
        await rig.driver.unpause("k")
    assert [end.code for end in ends] == [7]


@drivers(with_="pause")
async def test_terminate_ends_what_is_paused(rig: Rig) -> None:
    async with rig.ready(DEAF) as ends:
        await rig.driver.pause("k")
        await rig.driver.terminate("k")
    assert [end.code for end in ends] == [137]


@drivers(with_="pause")
async def test_cancelling_run_ends_what_is_paused(rig: Rig) -> None:
    with trio.CancelScope() as scope:
        async with rig.ready(DEAF) as ends:
            await rig.driver.pause("k")
            scope.cancel()
    assert ends == []
    await _raises_not_running(rig.driver)
    assert await rig.driver.leftovers() == []


@drivers(with_="pause")
async def test_pausing_cancelled_at_any_step_leaves_nothing(rig: Rig) -> None:
    async def work() -> None:
        async with rig.ready(FOREVER):
            await rig.driver.pause("k")
            await rig.driver.unpause("k")
            await rig.driver.terminate("k")

    async def check() -> None:
        await _raises_not_running(rig.driver)
        assert await rig.driver.leftovers() == []

    await cancel_everywhere(work, check, stride=rig.stride)


@drivers(with_="stats")
async def test_stats_tell_what_the_command_holds(rig: Rig) -> None:
    async with rig.ready(BUSY):
        usage = await rig.driver.stats("k")
        while usage.cpu.total_usec < 50_000:
            usage = await rig.driver.stats("k")
        assert usage.memory.max_usage_bytes > 0
        assert usage.memory.limit_bytes > usage.memory.usage_bytes
        assert usage.pids >= 1
        await rig.driver.terminate("k")


@drivers(with_="update")
async def test_new_limits_hold_at_once_and_those_that_cannot_be_change_nothing(rig: Rig) -> None:
    async with rig.ready(FOREVER):
        await rig.driver.update("k", Limits(pids=7, memory_bytes=64 << 20))
        with pytest.raises(LimitUnavailable, match=r"cpuset cpus"):
            await rig.driver.update("k", Limits(memory_bytes=32 << 20, cpuset_cpus="4000"))
        usage = await rig.driver.stats("k")
        assert (usage.pids_limit, usage.memory.limit_bytes) == (7, 64 << 20)
        await rig.driver.terminate("k")


@drivers(with_="oom")
async def test_running_out_of_memory_is_told_at_once_and_at_the_end(rig: Rig) -> None:
    told: list[bool] = []
    async with (
        rig.ready(HOGS, limits=Limits(memory_bytes=16 << 20)) as ends,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(rig.driver.watch_oom, "k", lambda: told.append(True))
        with trio.fail_after(PATIENCE_S):
            await eventually(lambda: told)
        # told when memory was used up: whom the kernel kills for it is decided after that
        with trio.fail_after(PATIENCE_S):
            while not (await rig.driver.stats("k")).memory.oom_kills:  # noqa: ASYNC110
                await trio.sleep(0.01)  # no descriptor tells of it
        await rig.driver.info("k")  # it is the child that was killed
        await rig.driver.terminate("k")
    assert told == [True]
    assert [end.oom_killed for end in ends] == [True]


@drivers()
async def test_a_live_key_is_no_leftover(rig: Rig) -> None:
    async with rig.ready(FOREVER):
        assert await rig.driver.leftovers() == []
        await rig.driver.terminate("k")


@drivers()
async def test_clean_of_nothing_is_nothing(rig: Rig) -> None:
    await rig.driver.clean("never-was")
    await rig.driver.clean("never-was")
    assert await rig.driver.leftovers() == []


@drivers()
async def test_many_containers_run_at_a_time(rig: Rig) -> None:
    async def run(key: str) -> None:
        assert (await rig.run(EXIT_3, key=key)).code == 3

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(run, f"k{number}")


@drivers()
async def test_cancelled_at_any_step_nothing_is_left(rig: Rig) -> None:
    async def check() -> None:
        await _raises_not_running(rig.driver)
        assert await rig.driver.leftovers() == []

    async def work() -> None:
        await rig.run(TRUE)

    await cancel_everywhere(work, check, stride=rig.stride)


@drivers()
async def test_a_terminal_cancelled_at_any_step_is_closed(rig: Rig) -> None:
    before = os.listdir("/proc/self/fd")

    async def check() -> None:
        assert os.listdir("/proc/self/fd") == before
        assert await rig.driver.leftovers() == []

    async def work() -> None:
        await rig.run(TRUE, terminal=WindowSize(), task_status=ClosesTerminal())

    await cancel_everywhere(work, check)


@drivers()
@pytest.mark.parametrize("terminal", [None, WindowSize()], ids=["pipes", "terminal"])
async def test_an_exec_cancelled_at_any_step_leaves_nothing(
    rig: Rig, terminal: WindowSize | None
) -> None:
    async with rig.ready(FOREVER):
        before, pids = os.listdir("/proc/self/fd"), await rig.driver.pids("k")

        async def check() -> None:
            assert os.listdir("/proc/self/fd") == before
            assert await rig.driver.pids("k") == pids

        async def work() -> None:
            await rig.exec(TRUE, terminal=terminal)

        await cancel_everywhere(work, check)
        await rig.driver.terminate("k")


@drivers()
async def test_cancelling_run_ends_what_ignores_signals(rig: Rig) -> None:
    with trio.CancelScope() as scope:
        async with rig.ready(DEAF) as ends:
            scope.cancel()
    assert ends == []
    await _raises_not_running(rig.driver)
    assert await rig.driver.leftovers() == []
