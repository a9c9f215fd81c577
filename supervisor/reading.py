"""Opening the log drivers of a container, and reading its log back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence

import trio

from drivers.errors import Conflict
from drivers.kernel.descriptors import check_room
from drivers.log.base import Entry, LogContext, LogDriver, ReadableLogDriver, ReadQuery
from supervisor.container import Container
from supervisor.hold import release
from supervisor.logs import container_logs
from supervisor.logs.container_logs import ContainerLogs
from supervisor.run import Drivers


@contextlib.asynccontextmanager
async def open_logs(
    container: Container, drivers: Drivers, nursery: trio.Nursery
) -> AsyncIterator[ContainerLogs]:
    """The logging of one run, its tasks in `nursery`. Raises DriverError if it cannot be opened."""
    opened = await _open_drivers(container, drivers)
    async with container_logs.open_logs(opened, container.output, nursery) as logs:
        try:
            yield logs
        finally:
            container.logs = None  # they are about to be closed: who reads now opens his own


@contextlib.asynccontextmanager
async def read_logs(
    container: Container, drivers: Drivers, query: ReadQuery
) -> AsyncIterator[AsyncIterator[Sequence[Entry]]]:
    """Entries of the log, in runs; with `follow`, until the present run has ended.

    Raises Conflict if none of the container's drivers can be read.
    """
    check_room()
    if container.logs is not None:
        async with _readable(container.logs.drivers).read(query) as entries:
            yield entries
        return
    opened = await _open_drivers(container, drivers)
    try:
        at_rest = dataclasses.replace(query, follow=False)  # nothing more will come
        async with _readable(opened).read(at_rest) as entries:
            yield entries
    finally:
        await _close(opened)


async def _close(drivers: Sequence[LogDriver]) -> None:
    for driver in drivers:
        await release(f"log driver {driver.name}", driver.close)


def _readable(drivers: Sequence[LogDriver]) -> ReadableLogDriver:
    for driver in drivers:
        if isinstance(driver, ReadableLogDriver):
            return driver
    raise Conflict("configured logging driver does not support reading")


async def _open_drivers(container: Container, drivers: Drivers) -> list[LogDriver]:
    spec = container.spec
    context = LogContext(
        container_id=spec.id,
        container_name=spec.name,
        image_id=spec.image_id,
        image_name=spec.image,
        directory=container.directory,
        labels=spec.labels,
        env=dict(item.partition("=")[::2] for item in spec.env),
    )
    opened: list[LogDriver] = []
    try:
        for config in spec.log:
            opened.append(await drivers.open_log(config.driver, context, config.options))
    except BaseException:  # cancelled too: those that are open are closed
        await _close(opened)
        raise
    return opened
