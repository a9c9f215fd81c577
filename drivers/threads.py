"""Blocking calls that must not be lost when the host lets no more threads be started."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from drivers.errors import Exhausted, from_host_error

T = TypeVar("T")


async def in_thread_or_here(
    call: Callable[..., T], *arguments: object, limiter: trio.CapacityLimiter | None = None
) -> T:
    """As `trio.to_thread.run_sync`, but in the caller's thread where no other can be started.

    For what takes a moment on a local disk: a line of a log, the end of a container. Everything
    else waits meanwhile, which is better than losing it.
    """
    try:
        return await trio.to_thread.run_sync(call, *arguments, limiter=limiter)
    except RuntimeError as error:
        if not isinstance(from_host_error(error, ""), Exhausted):
            raise
    async with limiter or trio.CapacityLimiter(1):
        return call(*arguments)
