"""Noticing that a client is gone."""

from __future__ import annotations

import contextlib
import select
from collections.abc import AsyncIterator

import trio


async def hung_up(stream: trio.SocketStream) -> None:
    """Wait until the peer has closed its end. That it writes no more alone is no hang-up.

    Reading would tell of both alike, and takes what the peer sends ahead. epoll tells of EPOLLHUP
    without being asked to, and with an empty mask of hardly anything else. Source: epoll_ctl(2).
    """
    with select.epoll() as poll:
        poll.register(stream.socket.fileno(), 0)
        await trio.lowlevel.wait_readable(poll.fileno())


@contextlib.asynccontextmanager
async def ended_by_hang_up(stream: trio.SocketStream) -> AsyncIterator[None]:
    """Cancel the block when the peer hangs up."""

    async def watch(scope: trio.CancelScope) -> None:
        await hung_up(stream)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        yield
        nursery.cancel_scope.cancel()
