"""One sink of a container's output: a driver behind a bounded queue of its own."""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec
import trio

from drivers.errors import CrecheError
from drivers.log.base import Batch, LogDriver

Policy = Literal["block", "drop-oldest", "drop-newest"]

QUEUE_BYTES = 4 * 1024 * 1024


class SinkStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink has done so far. Lines and bytes are those of the container."""

    driver: str
    lines_in: int = 0
    bytes_in: int = 0
    lines_sent: int = 0
    bytes_sent: int = 0
    lines_dropped: int = 0
    bytes_dropped: int = 0
    queued_bytes: int = 0
    last_error: str = ""


class Sink:
    """Takes batches without delaying anybody for longer than its policy says."""

    def __init__(
        self, driver: LogDriver, *, policy: Policy = "block", queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self.driver = driver
        self._policy = policy
        self._limit = queue_bytes
        self._queue: deque[tuple[Batch, int]] = deque()  # with the number of its lines
        self._queued_bytes = 0
        self._busy = False
        self._changed = trio.Event()
        self._counts = dict.fromkeys(
            (f"{unit}_{what}" for what in ("in", "sent", "dropped") for unit in ("lines", "bytes")),
            0,
        )
        self._last_error = ""

    @property
    def stats(self) -> SinkStats:
        """The counters now."""
        return SinkStats(
            driver=self.driver.name,
            queued_bytes=self._queued_bytes,
            last_error=self._last_error,
            **self._counts,
        )

    async def put(self, batch: Batch) -> None:
        """Queue a batch; with the policy `block` it waits for room, otherwise something is dropped.

        A batch that is larger than the queue is taken once the queue is empty.
        """
        lines = _lines(batch)
        self._count("in", batch, lines)
        if self._policy == "drop-newest" and self._is_full_for(batch):
            self._count("dropped", batch, lines)
            return
        while self._is_full_for(batch):
            if self._policy == "drop-oldest":
                oldest, dropped = self._queue.popleft()
                self._queued_bytes -= len(oldest.data)
                self._count("dropped", oldest, dropped)
            else:
                await self._changed.wait()
        self._queue.append((batch, lines))
        self._queued_bytes += len(batch.data)
        self._wake()

    async def pump(self) -> None:
        """The task that hands the queue to the driver; never ends by itself."""
        while True:
            while not self._queue:
                await self._changed.wait()
            batch, lines = self._queue.popleft()
            self._queued_bytes -= len(batch.data)
            self._busy = True
            self._wake()  # there is room now
            try:
                await self.driver.log(batch)
                self._count("sent", batch, lines)
            except CrecheError as error:
                self._last_error = str(error)
                self._count("dropped", batch, lines)
            finally:
                self._busy = False
            self._wake()

    async def flushed(self) -> None:
        """Wait until everything queued has been handed over."""
        while self._queue or self._busy:
            await self._changed.wait()

    def _is_full_for(self, batch: Batch) -> bool:
        return bool(self._queue) and self._queued_bytes + len(batch.data) > self._limit

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _count(self, what: str, batch: Batch, lines: int) -> None:
        self._counts[f"lines_{what}"] += lines
        self._counts[f"bytes_{what}"] += len(batch.data)


def _lines(batch: Batch) -> int:
    """How many lines a batch has; the end of one that has no newline is one as well.

    bytes.count looks at byte after byte, which takes longer than all else that is done to them.
    """
    return len(batch.data) - len(batch.data.replace(b"\n", b"")) or 1
