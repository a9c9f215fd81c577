"""The native execution driver with overlay storage, and no daemon around them."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import trio

from drivers import registry
from drivers.execution.base import Command, ExecutionDriver, Pipes, Process, Started
from drivers.keeper.client import open_keeper
from drivers.kernel.mount import open_tree_clone
from drivers.storage.base import StorageDriver
from tests.bench.figures import IN_DIRECTORY, Figure, median_figure
from tests.bench.setup import WARM_UP, Setup, need, times_in_private_mounts

_BASE, _KEY = "base", "bench"
_KEYS = [f"bench-{number}" for number in range(100)]  # of containers: each has its own layer


def native(setup: Setup) -> list[Figure]:
    """From the mount of its root to the end of `true`, reaped, with all default isolation: an
    overlay, and a directory as the other runtimes have it. The same for `true` in a container that
    runs, and for a bare nsenter(1) into it.
    """
    return trio.run(_measure, setup)


async def _measure(setup: Setup) -> list[Figure]:
    home = setup.below("native") / "overlay"
    storage: StorageDriver = await registry.load("storage", "overlay")(home, {})
    await _fill(storage, setup)
    async with open_keeper() as keeper:
        driver = registry.load("execution", "native")(keeper, f"/creche-bench-{os.getpid()}")
        keys = itertools.cycle(_KEYS)
        starts = await _repeat(lambda: _run_over(driver, storage, next(keys)), setup.runs)
        found = [median_figure("native", "start", starts)]
        mount_root = partial(open_tree_clone, str(setup.root))
        starts = await _repeat(lambda: _run_once(driver, mount_root, next(keys)), setup.runs)
        found.append(median_figure("native", IN_DIRECTORY, starts))
        async with _sleeping(driver, storage) as pid:
            execs = await _repeat(partial(_exec_once, driver), setup.runs)
            found.append(median_figure("native", "exec", execs))
            nsenter = [need("nsenter"), "--all", "--target", str(pid), "/bin/true"]
            times = partial(times_in_private_mounts, setup, ":", nsenter)
            found.append(median_figure("nsenter", "exec", await trio.to_thread.run_sync(times)))
        await driver.close()
    storage.cleanup()
    return found


async def _repeat(act: Callable[[], Awaitable[None]], runs: int) -> list[float]:
    """Seconds of each run, after some that do not count."""
    found = []
    for _ in range(WARM_UP + runs):
        before = time.perf_counter()
        await act()
        found.append(time.perf_counter() - before)
    return found[WARM_UP:]


@contextlib.asynccontextmanager
async def _sleeping(driver: ExecutionDriver, storage: StorageDriver) -> AsyncIterator[int]:
    """The pid of a container that runs during the block."""
    root_fd = await trio.to_thread.run_sync(storage.get, _KEY)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    command = Command(key=_KEY, root_fd=root_fd, argv=("sleep", "1000000"), env=("PATH=/bin",))
    pipes = Pipes(stdin=null, stdout=null, stderr=null)
    async with trio.open_nursery() as nursery:
        started: Started = await nursery.start(driver.run, _KEY, lambda: command, pipes)
        os.close(root_fd)
        os.close(null)
        yield started.pid
        await driver.terminate(_KEY)
    storage.put(_KEY)


async def _exec_once(driver: ExecutionDriver) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        process = Process(key=_KEY, argv=("/bin/true",), env=("PATH=/bin",))
        status = await driver.exec(process, Pipes(stdin=null, stdout=null, stderr=null))
        assert status.code == 0, status
    finally:
        os.close(null)


async def _fill(storage: StorageDriver, setup: Setup) -> None:
    """A layer with the root's files, and empty ones over it."""
    archive = setup.directory / "root.tar"
    with archive.open("rb") as layer:
        await trio.to_thread.run_sync(storage.apply_diff, _BASE, None, layer)
    for key in (_KEY, *_KEYS):
        await trio.to_thread.run_sync(storage.create, key, _BASE)
    await trio.to_thread.run_sync(os.sync)  # or it is written while something is measured


async def _run_over(driver: ExecutionDriver, storage: StorageDriver, key: str) -> None:
    try:
        await _run_once(driver, partial(storage.get, key), key)
    finally:
        storage.put(key)


async def _run_once(driver: ExecutionDriver, mount_root: Callable[[], int], key: str) -> None:
    roots: list[int] = []
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def describe() -> Command:
        roots.append(mount_root())
        command = ("/bin/true",)
        return Command(
            key=key, root_fd=roots[0], argv=command, env=("PATH=/bin",), hostname="bench"
        )

    try:
        pipes = Pipes(stdin=null, stdout=null, stderr=null)
        status = await driver.run(key, describe, pipes, task_status=_Closing(roots))
        assert status.code == 0, status
    finally:
        os.close(null)


class _Closing(trio.TaskStatus[Started]):
    """Closes the root once it is the container's, as the daemon does."""

    def __init__(self, roots: list[int]) -> None:
        self._roots = roots

    def started(self, value: Started | None = None) -> None:
        os.close(self._roots[0])
