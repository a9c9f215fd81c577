"""Cutting streams into batches."""

from __future__ import annotations

import os

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from drivers.log.base import Batch, Source
from supervisor.logs.copier import Cutter, copy_stream
from supervisor.output import Output

LIMIT = 16


def cut(chunks: list[bytes]) -> list[Batch]:
    cutter = Cutter("stdout", LIMIT)
    batches = [batch for chunk in chunks for batch in cutter.feed(chunk, 1)]
    return batches + cutter.finish(1)


@given(st.lists(st.binary(min_size=1, max_size=60).map(lambda b: b.replace(b"\x01", b"\n"))))
def test_whatever_is_written_comes_out_whole_and_in_lines(chunks: list[bytes]) -> None:
    batches = cut(chunks)
    assert b"".join(batch.data for batch in batches) == b"".join(chunks)
    for batch in batches[:-1]:
        assert batch.data.endswith(b"\n") or batch.partial
    for batch in batches:
        assert batch.data
        if batch.partial is None:
            assert max(map(len, batch.data.split(b"\n"))) <= LIMIT
        else:
            assert len(batch.data.rstrip(b"\n")) <= LIMIT
            assert b"\n" not in batch.data[:-1]


@given(st.lists(st.integers(0, 80), min_size=1), st.integers(1, 50))
def test_the_parts_of_a_long_line_are_numbered_and_the_last_is_marked(
    lengths: list[int], chunk: int
) -> None:
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    batches = cut([data[at : at + chunk] for at in range(0, len(data), chunk)])
    parts = [b.partial for b in batches if b.partial]
    for before, part in zip([None, *parts], parts, strict=False):
        if part.ordinal > 1:
            assert before is not None
            assert (before.id, before.ordinal, before.last) == (part.id, part.ordinal - 1, False)
    assert len({p.id for p in parts}) == sum(p.last for p in parts)
    assert sum(length > LIMIT for length in lengths) == len({p.id for p in parts})


def test_a_line_waits_for_its_newline() -> None:
    cutter = Cutter("stderr", LIMIT)
    assert cutter.feed(b"half", 1) == []
    (batch,) = cutter.feed(b" whole\nnext", 2)
    assert (batch.data, batch.source, batch.time_ns) == (b"half whole\n", "stderr", 2)
    (last,) = cutter.finish(3)
    assert last.data == b"next"


async def test_a_stream_is_shown_live_at_once_and_delivered_in_lines() -> None:
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    seen: list[tuple[Source, bytes]] = []
    delivered: list[bytes] = []

    async def deliver(batch: Batch) -> None:
        delivered.append(batch.data)

    def live(source: Source, data: bytes) -> None:
        seen.append((source, data))

    async with trio.open_nursery() as nursery:

        async def copy() -> None:
            await copy_stream(Output(read_fd), "stdout", live=live, deliver=deliver)

        nursery.start_soon(copy)
        os.write(write_fd, b"prompt> ")
        while not seen:
            await trio.lowlevel.checkpoint()
        assert delivered == []
        os.write(write_fd, b"done\n")
        os.close(write_fd)
    assert delivered == [b"prompt> done\n"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_fd)
