"""The logging of one run of a container: its copiers, its sinks, and whoever is attached."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import trio

from drivers.kernel.memory import give_back
from drivers.log.base import Batch, LogDriver, Source
from drivers.threads import in_thread_or_here
from supervisor import log
from supervisor.hold import release
from supervisor.logs.broadcast import Broadcast
from supervisor.logs.copier import copy_stream
from supervisor.logs.sink import Sink, SinkStats
from supervisor.output import Output

MUCH_BYTES = 16 * 1024 * 1024  # the allocator keeps as much for the next who writes as much
FLUSH_S = 10.0  # a sink that takes longer for what is left loses it, and stop stays on time


class ContainerLogs:
    """Made by `open_logs`; `start` once, then `drained` once the process has ended."""

    def __init__(self, sinks: Sequence[Sink], live: Broadcast) -> None:
        self._sinks = sinks
        self._live = live
        self._copying = 0
        self._bytes = 0  # so far
        self._changed = trio.Event()

    @property
    def drivers(self) -> list[LogDriver]:
        """The drivers behind the sinks, in their order."""
        return [sink.driver for sink in self._sinks]

    def stats(self) -> list[SinkStats]:
        """The counters of every sink."""
        return [sink.stats for sink in self._sinks]

    def open(self) -> None:
        """Open what the drivers write to; blocks. Raises DriverError."""
        for driver in self.drivers:
            driver.open()

    def start(self, nursery: trio.Nursery, outputs: Mapping[Source, Output]) -> None:
        """Copy the streams from now on; they are the copiers'."""
        self._copying = len(outputs)
        for source, output in outputs.items():
            nursery.start_soon(self._copy, output, source)

    async def drained(self) -> None:
        """Wait until the streams have ended and the sinks have all of it, FLUSH_S at most."""
        with trio.move_on_after(FLUSH_S) as scope:
            while self._copying:
                await self._changed.wait()
            for sink in self._sinks:
                await sink.flushed()
        if scope.cancelled_caught:
            log.warning("logs.not_flushed", stats=self.stats())
        if self._bytes >= MUCH_BYTES:
            await in_thread_or_here(give_back)

    async def _copy(self, output: Output, source: Source) -> None:
        try:
            await copy_stream(output, source, live=self._live.publish, deliver=self._fan_out)
        finally:
            self._copying -= 1
            self._changed.set()
            self._changed = trio.Event()

    async def _fan_out(self, batch: Batch) -> None:
        self._bytes += len(batch.data)
        for sink in self._sinks:
            await sink.put(batch)


@contextlib.asynccontextmanager
async def open_logs(
    drivers: Sequence[LogDriver], live: Broadcast, nursery: trio.Nursery
) -> AsyncIterator[ContainerLogs]:
    """The logging over drivers; they are closed at the end of the block.

    The sinks' tasks are in `nursery`, and end with the block.
    """
    sinks = {Sink(driver): trio.CancelScope() for driver in drivers}
    try:
        for sink, scope in sinks.items():
            nursery.start_soon(_pump, sink, scope)
        yield ContainerLogs(list(sinks), live)
    finally:
        for scope in sinks.values():
            scope.cancel()
        for driver in drivers:
            await release(f"log driver {driver.name}", driver.close, FLUSH_S)


async def _pump(sink: Sink, scope: trio.CancelScope) -> None:
    with scope:
        await sink.pump()
