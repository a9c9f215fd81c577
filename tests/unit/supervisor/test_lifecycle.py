"""The life of a container, on a virtual clock."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.errors import CommandNotFound, DriverError, NotModified, NotRunning
from supervisor.lifecycle import after_restart
from supervisor.spec import RestartPolicy
from supervisor.states import Record
from tests.cancel import cancel_everywhere
from tests.fakes.execution import exits, fails
from tests.unit.supervisor.world import ALWAYS, DEAF, FOREVER, State, World, actions, open_world


async def test_a_container_runs_to_its_end(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_world(tmp_path, {("job",): exits(3, after_s=5, stdout=b"out\n")}) as world:
        container = await world.make("job", "job")
        await world.manager.start("job")
        assert container.record.state is State.RUNNING
        await container.at_rest()
        assert (container.record.state, container.record.exit_code) == (State.EXITED, 3)
        assert [batch.data for batch in world.log.batches] == [b"out\n"]
        assert actions(world, container) == ["create", "start", "die"]


async def test_a_failed_start_is_told_to_the_starter_and_kept(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", "missing")
        with pytest.raises(CommandNotFound, match="executable file not found"):
            await world.manager.start("aa")
        assert container.record.state is State.FATAL
        assert container.record.exit_code == 127
        assert container.record.docker_status == "created"
        assert await world.network.list() == []


async def test_the_delay_between_restarts_grows_up_to_its_maximum(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {("crash",): exits(1)}) as world:
        container = await world.make("aa", "crash", restart=ALWAYS)
        await world.manager.start("aa")
        began, delays = trio.current_time(), []
        for starts in range(2, 8):
            await container.until(lambda wanted=starts: container.starts == wanted)
            delays.append(trio.current_time() - began)
            began = trio.current_time()
        assert delays == pytest.approx([1, 2, 4, 8, 8, 8])
        await world.manager.stop("aa")
        assert container.record.state is State.STOPPED


async def test_a_long_enough_run_forgets_earlier_failures(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    policy = RestartPolicy(name="on-failure", delay_min_s=1, reset_after_s=10, give_up_after=2)
    async with open_world(tmp_path, {("crash",): exits(1, after_s=11)}) as world:
        container = await world.make("aa", "crash", restart=policy)
        await world.manager.start("aa")
        await container.until(lambda: container.starts == 10)
        assert container.record.failures == 1
        await world.manager.stop("aa")


async def test_it_gives_up_after_so_many_failures_in_a_row(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    policy = RestartPolicy(name="on-failure", give_up_after=3)
    async with open_world(tmp_path, {("crash",): exits(9)}) as world:
        container = await world.make("aa", "crash", restart=policy)
        await world.manager.start("aa")
        await container.at_rest()
        assert container.record.state is State.FATAL
        assert (container.starts, container.record.restart_count) == (4, 3)


async def test_stop_waits_the_grace_and_then_kills(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *DEAF, stop_grace_s=7.0)
        await world.manager.start("aa")
        began = trio.current_time()
        await world.manager.stop("aa")
        assert trio.current_time() - began == pytest.approx(7)
        assert (container.record.state, container.record.exit_code) == (State.STOPPED, 137)
        assert actions(world, container)[-4:] == ["kill", "kill", "die", "stop"]


async def test_stop_of_what_obeys_does_not_wait(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER, stop_grace_s=7.0)
        await world.manager.start("aa")
        began = trio.current_time()
        await world.manager.stop("aa")
        assert trio.current_time() == began
        assert container.record.exit_code == 143


async def test_stopping_while_it_waits_to_start_again_ends_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {("crash",): exits(1)}) as world:
        container = await world.make("aa", "crash", restart=ALWAYS)
        await world.manager.start("aa")
        await container.until(lambda: container.record.state is State.BACKOFF)
        await world.manager.stop("aa")
        assert (container.record.state, container.starts) == (State.STOPPED, 1)


async def test_starting_what_runs_and_stopping_what_is_down_change_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        await world.make("aa", *FOREVER)
        with pytest.raises(NotModified):
            await world.manager.stop("aa")
        await world.manager.start("aa")
        with pytest.raises(NotModified):
            await world.manager.start("aa")
        await world.manager.stop("aa")


async def test_a_unit_is_running_once_it_has_been_up_for_its_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make_unit("aa", *FOREVER, ready_after_s=4)
        began = trio.current_time()
        await world.manager.start("aa")
        assert container.record.state is State.STARTING
        await container.not_starting()
        assert (trio.current_time() - began, container.record.state) == (4, State.RUNNING)
        await world.manager.stop("aa")


async def test_ending_before_it_was_ready_is_a_failure_whatever_the_code(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {("quick",): exits(0)}) as world:
        container = await world.make_unit("aa", "quick", ready_after_s=4)
        with pytest.raises(NotRunning, match="before it was ready"):
            await world.manager.start_ready("aa")
        assert container.record.state is State.FATAL


async def test_what_is_required_is_ready_before_and_stops_after(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        db = await world.make_unit("db", *FOREVER, ready_after_s=3)
        web = await world.make_unit("web", *FOREVER, requires=("db",))
        await world.manager.start("web")
        assert db.record.state is State.RUNNING
        assert db.record.started_ns < web.record.started_ns
        await world.manager.stop("db")
        told = [(e.attributes["name"], e.action) for e in world.manager.events.history(since_ns=0)]
        assert told.index(("web", "die")) < told.index(("db", "kill"))


async def test_what_requires_something_broken_does_not_start(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    scripts = {("broken",): fails(DriverError("no such disk"))}
    async with open_world(tmp_path, scripts) as world:
        await world.make_unit("db", "broken")
        web = await world.make_unit("web", *FOREVER, requires=("db",))
        with pytest.raises(DriverError, match="no such disk"):
            await world.manager.start("web")
        assert web.record.state is State.FATAL


async def test_restarting_what_is_required_restarts_what_requires_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        await world.make_unit("db", *FOREVER)
        web = await world.make_unit("web", *FOREVER, requires=("db",))
        await world.manager.start_ready("web")
        await world.manager.restart("db")
        assert web.starts == 2
        await world.manager.stop("db")


async def test_ending_the_daemon_stops_in_reverse_order_of_what_is_required(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        for name, requires in (("aa", ()), ("bb", ("aa",)), ("cc", ("bb",))):
            await world.make_unit(name, *DEAF, requires=requires, stop_grace_s=2.0)
        await world.manager.start_ready("cc")
        began = trio.current_time()
        await world.manager.stop_all()
        assert trio.current_time() - began == pytest.approx(6)
        died = [
            e.attributes["name"]
            for e in world.manager.events.history(since_ns=0)
            if e.action == "die"
        ]
        assert died == ["cc", "bb", "aa"]


async def test_a_caller_that_goes_away_does_not_cancel_the_operation(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *DEAF, stop_grace_s=5.0)
        await world.manager.start("aa")
        with trio.move_on_after(1):
            await world.manager.stop("aa")
        assert container.record.state is State.STOPPING
        await container.at_rest()
        assert container.record.state is State.STOPPED


async def test_a_container_that_removes_itself_is_gone_after_its_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {("job",): exits(2, after_s=1)}) as world:
        container = await world.make("aa", "job", auto_remove=True)
        with world.manager.waiting("aa", "removed") as removed:
            await world.manager.start("aa")
            assert await removed() == 2
        assert world.manager.all() == []
        assert not container.directory.exists()


async def test_every_cancelled_start_leaves_no_process_and_no_endpoint(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    made: list[World] = []
    descriptors = len(os.listdir("/proc/self/fd"))

    async def life() -> None:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        async with open_world(directory, {("job",): exits(0, after_s=1, stdout=b"x\n")}) as world:
            made.append(world)
            container = await world.make("aa", "job")
            await world.manager.start("aa")
            await container.at_rest()
            await world.manager.remove("aa")

    async def check() -> None:
        for world in made[-1:]:
            assert world.execution.live == {}
            assert await world.network.list() == []
        assert len(os.listdir("/proc/self/fd")) == descriptors

    assert await cancel_everywhere(life, check) > 10


async def _stop_with_escalation(world: World) -> None:
    await world.make("aa", *DEAF, stop_grace_s=2.0)
    await world.manager.start("aa")
    await world.manager.stop("aa")


async def _back_off_and_end(world: World) -> None:
    crashing = await world.make("aa", "crash", restart=ALWAYS)
    await world.manager.start("aa")
    await crashing.until(lambda: crashing.starts == 2)
    await world.manager.stop_all()


async def _restart_what_is_required(world: World) -> None:
    await world.make_unit("db", *FOREVER)
    await world.make_unit("web", *FOREVER, requires=("db",))
    await world.manager.start_ready("web")
    await world.manager.restart("db")


async def _attach_and_end_for_good(world: World) -> None:
    container = await world.make("aa", *FOREVER, auto_remove=True, open_stdin=True)
    with world.manager.attach("aa") as attachment:
        await world.manager.start("aa")
        await attachment.send_stdin(b"hello\n")
        await world.manager.kill("aa", 9)
        assert [data async for data in attachment.output] == []
    await container.until(lambda: container.removed)


async def _rename_and_remove_by_force(world: World) -> None:
    await world.make("aa", *FOREVER, tty=True)
    await world.manager.start("aa")
    await world.manager.rename("aa", "bb")
    await world.make("aa", *FOREVER)
    for name in ("aa", "bb"):
        await world.manager.remove(name, force=True)


@pytest.mark.parametrize(
    "transitions",
    [
        _stop_with_escalation,
        _back_off_and_end,
        _restart_what_is_required,
        _attach_and_end_for_good,
        _rename_and_remove_by_force,
    ],
)
async def test_every_cancelled_transition_leaves_nothing_held(
    tmp_path: Path,
    autojump_clock: MockClock,
    transitions: Callable[[World], Awaitable[None]],
) -> None:
    made: list[World] = []
    descriptors = len(os.listdir("/proc/self/fd"))

    async def life() -> None:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        async with open_world(directory, {("crash",): exits(1)}) as world:
            made.append(world)
            await transitions(world)

    async def check() -> None:
        for world in made[-1:]:
            assert world.execution.live == {}
            assert await world.network.list() == []
            # every name is that of a container that is there
            names = {container.name for container in world.manager.all()}
            taken = {name for name in ("aa", "bb") if not world.manager.containers.is_free(name)}
            assert taken <= names
        assert len(os.listdir("/proc/self/fd")) == descriptors

    assert await cancel_everywhere(life, check) > 20


async def test_a_new_daemon_takes_up_what_the_old_one_stored(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER, restart=ALWAYS)
        await world.make("bb", *FOREVER)
        await world.manager.start("aa")
    (tmp_path / "containers" / "debris").mkdir()
    async with open_world(tmp_path, {}) as world:
        world.execution.left.add(container.id)
        await world.manager.restore()
        assert world.execution.left == set()
        assert not (tmp_path / "containers" / "debris").exists()
        assert world.manager.find("aa").record.state is State.EXITED
        world.manager.start_by_themselves(world.manager.all())
        again = world.manager.find("aa")
        await again.until(lambda: again.starts == 1)
        assert world.manager.find("bb").record.state is State.CREATED
        await world.manager.stop("aa")


@pytest.mark.parametrize("has_layer", [True, False])
async def test_a_removal_that_was_cut_off_is_done_by_the_next_daemon(
    has_layer: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER)
    if has_layer:
        world.manager.drivers.storage.create(container.id, None)
    container.directory.rename(container.directory.with_name(f".{container.id}"))
    async with open_world(tmp_path, {}) as world:
        await world.manager.restore()
        assert world.manager.all() == []
        assert world.manager.drivers.storage.keys() == []
        assert world.store.load() == []
    assert list((tmp_path / "containers").iterdir()) == []


def test_what_was_up_or_being_removed_when_the_daemon_died_is_known_to_the_next() -> None:
    up = after_restart(Record(state=State.RUNNING, pid=7))
    assert (up.state, up.pid, up.exit_code) == (State.EXITED, 0, 255)
    assert after_restart(Record(state=State.REMOVING)).state is State.DEAD
    for state in (State.CREATED, State.STOPPED, State.FATAL):
        assert after_restart(Record(state=state)).state is state
