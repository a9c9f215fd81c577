"""Pausing, updating and running out of memory, on a virtual clock."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.errors import Conflict, InvalidRequest, LimitUnavailable, NotRunning
from supervisor.lifecycle import OOM_WATCH_AFTER_S
from supervisor.spec import ResourceLimits, RestartPolicy
from supervisor.states import ProcessState
from tests.cancel import cancel_everywhere
from tests.fakes.execution import Process
from tests.unit.supervisor.world import ALWAYS, DEAF, FOREVER, State, World, actions, open_world


async def test_a_paused_container_is_up_and_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER)
        await world.manager.start("aa")
        await world.manager.pause("aa")
        process = world.execution.live[container.id]
        assert process.paused
        record = container.record
        assert (record.state, record.docker_status) == (State.PAUSED, "paused")
        assert record.supervisor_state is ProcessState.RUNNING
        with pytest.raises(Conflict, match=f"Container {container.id} is already paused"):
            await world.manager.pause("aa")
        with pytest.raises(Conflict, match="cannot start a paused container, try unpause instead"):
            await world.manager.start("aa")
        with pytest.raises(Conflict, match="container is paused and must be unpaused first"):
            await world.manager.remove("aa")
        await world.manager.unpause("aa")
        assert not process.paused
        assert container.record.state is State.RUNNING
        with pytest.raises(Conflict, match=f"Container {container.id} is not paused"):
            await world.manager.unpause("aa")
        assert actions(world, container) == ["create", "start", "pause", "unpause"]
        await world.manager.stop("aa")


async def test_what_does_not_run_cannot_be_paused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def crash(process: Process) -> int:
        return 1

    async with open_world(tmp_path, {("crash",): crash}) as world:
        container = await world.make("aa", "crash", restart=ALWAYS)
        with pytest.raises(NotRunning, match="is not running"):
            await world.manager.pause("aa")
        await world.manager.start("aa")
        await container.until(lambda: container.record.state is State.BACKOFF)
        with pytest.raises(Conflict, match="is restarting, wait until the container is running"):
            await world.manager.pause("aa")
        await world.manager.stop("aa")


async def test_a_unit_is_paused_only_once_it_is_ready(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        await world.make_unit("aa", *FOREVER, ready_after_s=5)
        await world.manager.start("aa")
        with pytest.raises(Conflict, match="is starting: it is not ready"):
            await world.manager.pause("aa")
        await world.manager.start_ready("aa")
        await world.manager.pause("aa")
        await world.manager.stop("aa")


async def test_stopping_a_paused_container_lets_it_take_the_signal(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER)
        await world.manager.start("aa")
        await world.manager.pause("aa")
        began = trio.current_time()
        await world.manager.stop("aa")
        assert trio.current_time() == began  # not after the time of grace
        assert (container.record.state, container.record.exit_code) == (State.STOPPED, 143)
        assert actions(world, container)[2:] == ["pause", "kill", "unpause", "die", "stop"]


async def test_a_deaf_paused_container_is_killed_and_removed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        for end in (world.manager.stop, lambda ref: world.manager.remove(ref, force=True)):
            container = await world.make("aa", *DEAF)
            await world.manager.start("aa")
            await world.manager.pause("aa")
            await end("aa")
            assert not container.is_up
            assert container.record.exit_code == 137
            if not container.removed:
                await world.manager.remove("aa")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_a_signal_that_ends_a_paused_container_lets_it_go_on(
    tmp_path: Path, autojump_clock: MockClock, signum: int
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER, restart=ALWAYS)
        await world.manager.start("aa")
        await world.manager.pause("aa")
        await world.manager.kill("aa", signal.SIGWINCH)
        assert container.record.state is State.PAUSED
        await world.manager.kill("aa", signum)
        await container.at_rest()
        assert container.record.exit_code == 128 + signum


async def test_a_paused_container_is_restarted(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER)
        await world.manager.start("aa")
        await world.manager.pause("aa")
        await world.manager.restart("aa")
        assert container.record.state is State.RUNNING
        assert container.starts == 2
        await world.manager.stop("aa")


async def test_a_paused_container_that_is_killed_from_outside_was_ready(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER, restart=RestartPolicy(name="no"))
        await world.manager.start("aa")
        await world.manager.pause("aa")
        await world.execution.terminate(container.id)
        await container.at_rest()
        assert container.record.state is State.EXITED


async def test_every_cancelled_pause_leaves_a_container_that_can_be_stopped(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def work() -> None:
        async with open_world(tmp_path, {}) as world:
            await _pause_update_and_stop(world)
            await world.manager.remove("aa")

    async def check() -> None:
        async with open_world(tmp_path, {}) as world:
            await world.manager.restore()
            for container in world.manager.all():
                assert not container.is_up
                await world.manager.remove(container.id)
            assert await world.network.list() == []

    await cancel_everywhere(work, check)


async def _pause_update_and_stop(world: World) -> None:
    await world.make("aa", *FOREVER)
    await world.manager.start("aa")
    await world.manager.pause("aa")
    await world.manager.update("aa", {"pids": 5})
    await world.manager.unpause("aa")
    await world.manager.pause("aa")
    await world.manager.stop("aa")


async def test_an_update_holds_at_once_and_at_the_next_start(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER, limits=ResourceLimits(cpu_shares=100))
        await world.manager.update("aa", {"pids": 5})
        assert container.spec.limits == ResourceLimits(cpu_shares=100, pids=5)
        await world.manager.start("aa")
        policy = RestartPolicy(name="unless-stopped")
        await world.manager.update("aa", {"memory_bytes": 64 << 20}, policy)
        limits = world.execution.live[container.id].limits
        assert (limits.memory_bytes, limits.pids, limits.cpu_shares) == (64 << 20, 5, 100)
        assert container.spec.restart == policy
        assert actions(world, container)[-1] == "update"
        await world.manager.stop("aa")


async def test_an_update_that_is_refused_changes_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER, limits=ResourceLimits(nano_cpus=10**9))
        await world.manager.start("aa")
        before = container.spec
        with pytest.raises(LimitUnavailable):
            await world.manager.update("aa", {"cpu_shares": world.execution.refused_shares})
        with pytest.raises(Conflict, match="CPU Quota cannot be updated as NanoCPUs has already"):
            await world.manager.update("aa", {"cpu_quota_usec": 5000})
        with pytest.raises(InvalidRequest, match="Minimum memory limit allowed is 6MB"):
            await world.manager.update("aa", {"memory_bytes": 1})
        assert container.spec == before
        await world.manager.stop("aa")


async def test_restarting_by_itself_does_not_go_with_removing_itself(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        await world.make("aa", *FOREVER, auto_remove=True)
        with pytest.raises(Conflict, match="because AutoRemove is enabled"):
            await world.manager.update("aa", {}, ALWAYS)


async def test_a_killed_child_is_told_while_the_container_runs_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, {}) as world:
        container = await world.make("aa", *FOREVER)
        await world.manager.start("aa")
        await trio.sleep(2 * OOM_WATCH_AFTER_S)
        world.execution.live[container.id].run_out_of_memory()
        assert container.record.oom_killed
        assert container.record.state is State.RUNNING
        world.execution.live[container.id].run_out_of_memory()
        await world.manager.stop("aa")
        told = actions(world, container)
        assert told.count("oom") == 2
        assert container.record.oom_killed
        await world.manager.start("aa")
        assert not container.record.oom_killed
        await world.manager.stop("aa")


async def test_an_end_for_want_of_memory_is_told_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def hog(process: Process) -> int:
        process.oom_killed = True
        process.die(signal.SIGKILL)
        await trio.sleep_forever()
        return 0

    async with open_world(tmp_path, {("hog",): hog}) as world:
        container = await world.make("aa", "hog")
        await world.manager.start("aa")
        await container.at_rest()
        assert actions(world, container) == ["create", "start", "oom", "die"]
        assert (container.record.oom_killed, container.record.exit_code) == (True, 137)
