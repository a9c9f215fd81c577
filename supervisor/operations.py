"""Operations that outlive the caller who asked for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from drivers.errors import Conflict, CrecheError

T = TypeVar("T")


async def run_detached(nursery: trio.Nursery, operation: Callable[[], Awaitable[T]]) -> T:
    """Run `operation` in `nursery` and wait for its result.

    A caller that is cancelled stops waiting; the operation goes on. A CrecheError reaches the
    caller, or nobody if the caller is gone; anything else is a bug and ends the nursery.
    """
    results: list[T] = []
    errors: list[CrecheError] = []
    done = trio.Event()

    async def work() -> None:
        try:
            results.append(await operation())
        except CrecheError as error:
            errors.append(error)
        finally:
            done.set()

    nursery.start_soon(work)
    await done.wait()
    if errors:
        raise errors[0]
    if not results:
        raise Conflict("the daemon is shutting down")
    return results[0]
