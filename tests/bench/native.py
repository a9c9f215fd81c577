"""The native execution driver with overlay storage, and no daemon around them."""

from __future__ import annotations

import os
import time

import trio

from drivers import registry
from drivers.execution.base import Command, ExecutionDriver, Pipes
from drivers.keeper.client import open_keeper
from drivers.storage.base import StorageDriver
from tests.bench.figures import Figure, median_figure
from tests.bench.setup import WARM_UP, Setup

_BASE, _KEY = "base", "bench"


def native(setup: Setup) -> list[Figure]:
    """From the mount of its root to the end of `true`, reaped, with all default isolation."""
    return [median_figure("native", "start", trio.run(_times, setup))]


async def _times(setup: Setup) -> list[float]:
    home = setup.below("native") / "overlay"
    storage: StorageDriver = await registry.load("storage", "overlay")(home, {})
    await _fill(storage, setup)
    found = []
    async with open_keeper() as keeper:
        driver = registry.load("execution", "native")(keeper, f"/creche-bench-{os.getpid()}")
        for _ in range(WARM_UP + setup.runs):
            before = time.perf_counter()
            await _run_once(driver, storage)
            found.append(time.perf_counter() - before)
        await driver.close()
    await storage.cleanup()
    return found[WARM_UP:]


async def _fill(storage: StorageDriver, setup: Setup) -> None:
    """A layer with the root's files, and an empty one over it."""
    archive = setup.directory / "root.tar"
    with archive.open("rb") as layer:
        await storage.apply_diff(_BASE, None, layer)
    await storage.create(_KEY, _BASE)


async def _run_once(driver: ExecutionDriver, storage: StorageDriver) -> None:
    root_fd = await storage.get(_KEY)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        command = Command(
            key=_KEY, root_fd=root_fd, argv=("/bin/true",), env=("PATH=/bin",), hostname="bench"
        )
        status = await driver.run(command, Pipes(stdin=null, stdout=null, stderr=null))
        assert status.code == 0, status
    finally:
        os.close(null)
        os.close(root_fd)
        await storage.put(_KEY)
