"""Blocking calls: at once where a thread has room, and here where none can be started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import trio
from trio.to_thread import current_default_thread_limiter

from drivers.errors import Exhausted, from_host_error

T = TypeVar("T")


class _AtOnce:
    """Trio's default limiter; but others have no turn before a call for which there is room."""

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        limiter = current_default_thread_limiter()
        try:
            limiter.acquire_on_behalf_of_nowait(borrower)
        except trio.WouldBlock:
            await limiter.acquire_on_behalf_of(borrower)

    def release_on_behalf_of(self, borrower: object) -> None:
        current_default_thread_limiter().release_on_behalf_of(borrower)


_at_once: Any = _AtOnce()  # all that a limiter is asked for. Source: trio.to_thread.run_sync


async def in_thread(call: Callable[..., T], *arguments: object) -> T:
    """As `trio.to_thread.run_sync`, for what every start and end of a container waits for."""
    return await trio.to_thread.run_sync(call, *arguments, limiter=_at_once)


async def in_thread_or_here(
    call: Callable[..., T], *arguments: object, limiter: trio.CapacityLimiter | None = None
) -> T:
    """As `in_thread`, but in the caller's thread where no other can be started.

    For what takes a moment on a local disk: a line of a log, the end of a container. Everything
    else waits meanwhile, which is better than losing it.
    """
    try:
        return await trio.to_thread.run_sync(call, *arguments, limiter=limiter or _at_once)
    except RuntimeError as error:
        if not isinstance(from_host_error(error, ""), Exhausted):
            raise
    async with limiter or trio.CapacityLimiter(1):
        return call(*arguments)
