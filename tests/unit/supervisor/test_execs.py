"""Execs and terminals below the API: what is held is released, cancelled wherever."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.errors import Conflict
from supervisor.execs.instance import ExecSpec, check_can_exec
from tests.cancel import cancel_everywhere
from tests.fakes.execution import Process, exits
from tests.unit.supervisor.world import FOREVER, World, open_world


async def echo(process: Process) -> int:
    process.write(await process.read_line())
    return 0


SCRIPTS = {("echo",): echo, ("write",): exits(4, stdout=b"out\n", stderr=b"err\n")}


async def _exec(world: World, tty: bool) -> None:
    """Run one to its end, attached; and one in the background that the container takes along."""
    execs = world.manager.execs
    container = await world.make("aa", *FOREVER, tty=tty, open_stdin=True)
    await world.manager.start("aa")
    streams = {"attach_stdin": True, "attach_stdout": True, "attach_stderr": True}
    instance = execs.create(container, ExecSpec(argv=("echo",), tty=tty, **streams))
    execs.begin(instance.id)
    with instance.attach() as attachment:
        await execs.execute(instance, attached=True)
        await attachment.send_stdin(b"hello\n")
        seen = [data async for _, data in attachment.output]
        assert b"hello" in b"".join(seen)
    background = execs.create(container, ExecSpec(argv=FOREVER, tty=tty))
    await execs.execute(execs.begin(background.id), attached=False)
    await world.manager.stop("aa", grace_s=0)
    await background.until(lambda: background.exit_code is not None)


@pytest.mark.parametrize("tty", [False, True])
async def test_every_cancelled_exec_leaves_nothing_held(
    tmp_path: Path, autojump_clock: MockClock, tty: bool
) -> None:
    made: list[World] = []
    descriptors = len(os.listdir("/proc/self/fd"))

    async def life() -> None:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        async with open_world(directory, SCRIPTS) as world:
            made.append(world)
            await _exec(world, tty)

    async def check() -> None:
        for world in made[-1:]:
            assert (world.execution.live, world.execution.execs) == ({}, [])
        assert len(os.listdir("/proc/self/fd")) == descriptors

    assert await cancel_everywhere(life, check) > 20


async def test_who_waits_for_a_start_may_go_and_the_exec_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_world(tmp_path, SCRIPTS) as world:
        container = await world.make("aa", *FOREVER)
        await world.manager.start("aa")
        instance = world.manager.execs.create(container, ExecSpec(argv=("write",)))
        with trio.CancelScope() as scope:
            scope.cancel()
            await world.manager.execs.execute(
                world.manager.execs.begin(instance.id), attached=False
            )
        await instance.until(lambda: instance.exit_code is not None)
        assert instance.exit_code == 4


async def test_a_paused_container_has_no_execs(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_world(tmp_path, SCRIPTS) as world:
        container = await world.make("aa", *FOREVER)
        await world.manager.start("aa")
        check_can_exec(container)
        instance = world.manager.execs.create(container, ExecSpec(argv=("write",)))
        world.execution.live[container.id].paused = True
        with pytest.raises(Conflict, match="is paused"):
            await world.manager.execs.execute(
                world.manager.execs.begin(instance.id), attached=False
            )
        assert instance.exit_code == 126
