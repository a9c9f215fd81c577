"""Sinks: bounded queues with a policy, and counters."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from drivers.errors import DriverError
from drivers.log.base import Batch
from supervisor.logs.broadcast import LISTENER_BYTES, Broadcast
from supervisor.logs.sink import Sink


class Gate:
    """A driver that takes a batch when it is let."""

    name = "gate"

    def __init__(self) -> None:
        self.open = trio.Event()
        self.taken: list[bytes] = []
        self.error: DriverError | None = None

    def open(self) -> None:
        pass

    async def log(self, batch: Batch) -> None:
        await self.open.wait()
        if self.error:
            raise self.error
        self.taken.append(batch.data)

    async def close(self) -> None:
        pass


def batch(data: bytes) -> Batch:
    return Batch(data=data, source="stdout", time_ns=1)


async def test_blocking_waits_for_room_and_loses_nothing(autojump_clock: MockClock) -> None:
    gate = Gate()
    sink = Sink(gate, queue_bytes=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.pump)

        async def write() -> None:
            for number in range(5):
                await sink.put(batch(b"line %d\n" % number))

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        assert sink.stats.lines_in == 3  # one in the driver's hands, one queued, one waiting
        gate.open.set()
        await wait_all_tasks_blocked()
        await sink.flushed()
        assert len(gate.taken) == 5
        nursery.cancel_scope.cancel()
    assert (sink.stats.lines_sent, sink.stats.lines_dropped) == (5, 0)


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop-newest", [b"a\n", b"b\n"]), ("drop-oldest", [b"a\n", b"d\n"])]
)
async def test_dropping_never_waits_and_is_counted(
    autojump_clock: MockClock, policy: str, kept: list[bytes]
) -> None:
    gate = Gate()
    sink = Sink(gate, policy=policy, queue_bytes=2)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.pump)
        await sink.put(batch(b"a\n"))
        await wait_all_tasks_blocked()
        for data in (b"b\n", b"c\n", b"d\n"):
            await sink.put(batch(data))
        gate.open.set()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert gate.taken == kept
    assert (sink.stats.lines_dropped, sink.stats.bytes_dropped) == (2, 4)


async def test_a_failing_driver_is_told_in_the_counters(autojump_clock: MockClock) -> None:
    gate = Gate()
    gate.error = DriverError("disk gone")
    gate.open.set()
    sink = Sink(gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.pump)
        await sink.put(batch(b"a\nb\n"))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (sink.stats.lines_dropped, sink.stats.last_error) == (2, "disk gone")


async def test_a_listener_that_is_too_far_behind_is_let_go() -> None:
    broadcast = Broadcast()
    with broadcast.listen() as slow, broadcast.listen() as quick:
        chunk = b"x" * (LISTENER_BYTES // 4)
        for _ in range(6):
            broadcast.publish("stdout", chunk)
            await quick.__anext__()
        broadcast.end()
        assert [data async for _, data in quick] == []
        assert len([data async for _, data in slow]) == 4
