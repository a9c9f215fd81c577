"""Operations that outlive the caller who asked for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from drivers.errors import HOST_ERRORS, Conflict, CrecheError, reported

T = TypeVar("T")


async def run_detached(nursery: trio.Nursery, operation: Callable[[], Awaitable[T]]) -> T:
    """Run `operation` in `nursery` and wait for its result.

    A caller that is cancelled stops waiting; the operation goes on. A CrecheError reaches the
    caller, or nobody if the caller is gone, and so does what the kernel refuses the daemon
    itself; anything else is a bug and ends the nursery.
    """
    results: list[T] = []
    errors: list[CrecheError] = []
    done = trio.Event()

    async def work() -> None:
        try:
            results.append(await operation())
        except* (CrecheError, *HOST_ERRORS) as group:
            errors.extend(reported(group, "carry out the request"))
        finally:
            done.set()

    nursery.start_soon(work)
    await done.wait()
    if errors:
        raise errors[0]
    if not results:
        raise Conflict("the daemon is shutting down")
    return results[0]
