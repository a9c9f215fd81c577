"""Holding resources: acquired in order, released in the reverse, shielded but never for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import trio

from drivers.errors import HOST_ERRORS, CrecheError, reported
from supervisor import log

T = TypeVar("T")

RELEASE_S = 30.0  # more than any driver needs; what takes longer is left to the next start


async def release(
    what: str, free: Callable[[], Awaitable[None]], limit_s: float = RELEASE_S
) -> None:
    """Run `free` to its end even if cancelled, for `limit_s` at most.

    What fails or runs out of time is logged with `what` it was about: the start of the daemon
    reconciles it.
    """
    with trio.move_on_after(limit_s, shield=True) as scope:
        try:
            await free()
        except* (CrecheError, *HOST_ERRORS) as group:
            for error in reported(group, f"release {what}"):
                log.error("release.failed", what=what, error=error)
    if scope.cancelled_caught:
        log.error("release.timed_out", what=what, limit_s=limit_s)


async def hold_in(
    held: AsyncExitStack,
    what: str,
    acquire: Callable[[], Awaitable[T]],
    free: Callable[[T], Awaitable[None]],
) -> T:
    """Acquire something that `held` will release."""
    value = await acquire()
    held.push_async_callback(release, what, lambda: free(value))
    return value
