"""Reading logs back: whoever goes in the middle leaves nothing open."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import msgspec
import pytest

from drivers.errors import InvalidRequest
from drivers.log.base import ReadQuery
from supervisor.daemon import check_log, open_log
from supervisor.spec import LogConfig
from tests.cancel import cancel_everywhere
from tests.unit.supervisor.world import World, exits, open_world

JOB = ("job",)
SCRIPTS = {JOB: exits(0, after_s=0.02, stdout=b"one\ntwo\n")}
JSON_FILE = (LogConfig(driver="json-file"),)


def _use_real_drivers(world: World) -> None:
    world.manager.drivers = dataclasses.replace(
        world.manager.drivers, open_log=open_log, check_log=check_log
    )


async def _read(world: World, *, follow: bool) -> bytes:
    query = ReadQuery(follow=follow)
    async with world.manager.read_logs("aa", query) as runs:
        return b"".join([entry.data async for run in runs for entry in run])


@pytest.mark.parametrize("is_up", [False, True], ids=["at rest", "while it runs"])
async def test_reading_cancelled_at_any_step_leaves_nothing_open(
    tmp_path: Path, is_up: bool
) -> None:
    async with open_world(tmp_path, SCRIPTS) as world:
        _use_real_drivers(world)
        container = await world.make("aa", *JOB, log=JSON_FILE)

        async def work() -> None:
            if is_up and not container.is_up:
                await world.manager.start("aa")
            assert b"one" in await _read(world, follow=is_up)

        async def check() -> None:
            await container.at_rest()
            assert len(os.listdir("/proc/self/fd")) == descriptors

        await world.manager.start("aa")
        await container.at_rest()
        descriptors = len(os.listdir("/proc/self/fd"))
        await cancel_everywhere(work, check)


async def test_what_can_be_opened_is_closed_if_another_one_cannot(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path, SCRIPTS) as world:
        _use_real_drivers(world)
        container = await world.make("aa", *JOB, log=JSON_FILE)
        bad = LogConfig(driver="json-file", options={"max-size": "nonsense"})
        container.spec = msgspec.structs.replace(container.spec, log=(*JSON_FILE, bad))
        descriptors = len(os.listdir("/proc/self/fd"))
        with pytest.raises(InvalidRequest):
            await _read(world, follow=False)
        assert len(os.listdir("/proc/self/fd")) == descriptors
