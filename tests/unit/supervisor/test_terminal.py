"""The daemon's end of a terminal."""

from __future__ import annotations

import os

import pytest
import trio

from drivers.errors import InvalidRequest
from drivers.execution.base import WindowSize
from drivers.kernel.terminal import open_peer, set_window_size, window_size
from supervisor.output import AFTER_END_BYTES, Output
from supervisor.terminal import Terminal, check_size

SMALL = WindowSize(rows=3, columns=4)


async def test_a_size_that_comes_while_the_terminal_is_made_is_not_lost() -> None:
    terminal = Terminal(WindowSize())
    ours, theirs = os.openpty()
    terminal.resize(SMALL)
    with terminal.open(ours):
        assert window_size(theirs) == (3, 4)
        terminal.resize(WindowSize(rows=5, columns=6))
        assert window_size(theirs) == (5, 6)
    terminal.close()
    terminal.close()
    terminal.resize(SMALL)
    assert terminal.size == SMALL
    os.close(theirs)


async def test_closing_and_opening_a_terminal_again_is_no_end_to_its_output() -> None:
    terminal = Terminal(SMALL)
    ours, theirs = os.openpty()
    path = os.ttyname(theirs)
    seen: list[bytes] = []
    with terminal.open(ours) as output:
        os.close(theirs)

        async def read() -> None:
            while data := await output.receive():
                seen.append(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            again = os.open(path, os.O_RDWR | os.O_NOCTTY)
            os.write(again, b"again\n")
            output.finish()
    os.close(again)
    terminal.close()
    assert b"".join(seen) == b"again\r\n"


async def test_output_ends_where_its_writers_have_closed() -> None:
    reading, writing = os.pipe()
    with Output(reading) as output:
        os.write(writing, b"all")
        os.close(writing)
        assert await output.receive() == b"all"
        assert await output.receive() == b""


async def test_who_goes_on_writing_after_the_end_is_not_read_for_ever() -> None:
    size = 0
    with Output(os.open("/dev/zero", os.O_RDONLY)) as output:
        output.finish()
        while data := await output.receive():
            size += len(data)
    assert size == AFTER_END_BYTES


def test_the_peer_is_the_other_end_of_the_same_terminal() -> None:
    ours, theirs = os.openpty()
    peer = open_peer(ours)
    assert os.ttyname(peer) == os.ttyname(theirs)
    assert not os.get_inheritable(peer)
    for fd in (ours, theirs, peer):
        os.close(fd)


def test_what_is_no_terminal_has_no_size() -> None:
    with open(os.devnull) as null:
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            window_size(null.fileno())
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            set_window_size(null.fileno(), 1, 1)


@pytest.mark.parametrize(("rows", "columns"), [(-1, 1), (1, -1), (65536, 1), (1, 2**40)])
def test_a_size_that_no_terminal_can_have_is_refused(rows: int, columns: int) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot be {rows} by {columns}"):
        check_size(rows, columns)
