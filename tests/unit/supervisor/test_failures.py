"""What fails in an operation is told to whoever asked; the manager and the others go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.errors import CrecheError, DriverError, Exhausted, Unsupported, reported
from supervisor.operations import run_detached
from tests.fakes.execution import Process, Program
from tests.shortage import at_most_descriptors, without_descriptors
from tests.unit.supervisor.world import FOREVER, State, exits, open_world

STUCK = ("stuck",)


def _waits_for_the_kernel(answer: trio.Event) -> Program:
    """A program that even SIGKILL does not end before the kernel answers."""

    async def program(process: Process) -> int:
        with trio.CancelScope(shield=True):
            await answer.wait()
        return 0

    return program


async def test_what_cannot_be_ended_is_told_to_who_stops_what_it_requires(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """ATTACKS 41."""
    answer = trio.Event()
    async with open_world(tmp_path, {STUCK: _waits_for_the_kernel(answer)}) as world:
        await world.make_unit("db", *FOREVER)
        stuck = await world.make_unit("web", *STUCK, requires=("db",))
        await world.manager.start_ready("web")
        for verb in (world.manager.stop, world.manager.restart):
            with pytest.raises(DriverError, match=rf"web: processes \[{stuck.record.pid}\] do not"):
                await verb("db")
        answer.set()
        await stuck.at_rest()
        await world.manager.stop("db")


async def test_a_daemon_that_goes_stops_the_others_beside_what_cannot_be_ended(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """ATTACKS 41."""
    answer = trio.Event()
    async with open_world(tmp_path, {STUCK: _waits_for_the_kernel(answer)}) as world:
        stuck = await world.make("aa", *STUCK)
        other = await world.make("bb", *FOREVER, stop_grace_s=100.0)
        for container in (stuck, other):
            await world.manager.start(container.id)
        await world.manager.stop_all()
        assert (stuck.is_up, other.record.state) == (True, State.EXITED)
        answer.set()


async def test_a_request_for_which_there_are_no_descriptors_is_told_and_costs_nothing_else(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """ATTACKS 43."""
    async with open_world(tmp_path, {}) as world:
        running = await world.make("aa", *FOREVER)
        await world.manager.start("aa")
        other = await world.make("bb", *FOREVER)
        with without_descriptors():
            for operation in (
                lambda: world.make("cc", *FOREVER),
                lambda: world.manager.start("bb"),
                lambda: world.manager.update("aa", {"memory_bytes": 64 << 20}),
            ):
                with pytest.raises(Exhausted, match="LimitNOFILE"):
                    await operation()
        assert running.record.state is State.RUNNING
        assert other.record.state is State.FATAL
        assert [container.name for container in world.manager.all()] == ["bb", "aa"]
        await world.make("cc", *FOREVER)
        await world.manager.start("bb")
        for name in ("aa", "bb"):
            await world.manager.stop(name)


@pytest.mark.parametrize("tty", [False, True])
async def test_a_life_that_runs_out_of_descriptors_at_any_step_can_be_lived_again(
    tmp_path: Path, autojump_clock: MockClock, tty: bool
) -> None:
    """ATTACKS 43: with one more of them each time, until there are enough."""
    async with open_world(tmp_path, {("job",): exits(0, after_s=1)}) as world:
        before = os.listdir("/proc/self/fd")
        failed = 0
        for number in range(200):
            try:
                with at_most_descriptors(os.getpid(), number):
                    container = await world.make("aa", "job", tty=tty)
                    await world.manager.start("aa")
                    await container.at_rest()
                    await world.manager.remove("aa")
                break
            except CrecheError:
                failed += 1
            for container in world.manager.all():
                await world.manager.remove(container.id, force=True)
            assert world.execution.live == {}
            assert os.listdir("/proc/self/fd") == before
        assert len(before) < failed < 200


async def test_what_cannot_be_removed_at_its_end_can_be_removed_later(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """ATTACKS 43."""
    async with open_world(tmp_path, {("job",): exits(0, after_s=1)}) as world:
        container = await world.make("aa", "job", auto_remove=True)
        await world.manager.start("aa")
        with without_descriptors():
            await container.until(lambda: container.record.state is State.DEAD)
        assert "too many open files" in container.record.error
        await world.manager.remove("aa")
        assert world.manager.all() == []


async def test_only_what_is_no_bug_is_told() -> None:
    told = reported(
        ExceptionGroup("", [Unsupported("no"), ExceptionGroup("", [MemoryError()])]), "do it"
    )
    assert [str(error) for error in told] == [
        "no",
        "do it: cannot allocate memory: the host has no more, or the control group of the daemon",
    ]
    with pytest.raises(ExceptionGroup):
        reported(ExceptionGroup("", [Unsupported("no"), RuntimeError("a bug")]), "do it")


async def test_a_bug_in_an_operation_ends_the_nursery() -> None:
    async def buggy() -> None:
        raise RuntimeError("a bug")

    async def ask() -> None:
        async with trio.open_nursery() as nursery:
            await run_detached(nursery, buggy)

    with pytest.raises(ExceptionGroup) as caught:
        await ask()
    assert caught.group_contains(RuntimeError, match="a bug")
