"""How a process ends: seen to in any case, and what the keeper's account of it means."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable

import trio

from drivers.errors import DriverError
from drivers.execution.base import ExitStatus
from drivers.execution.live import kill_process
from drivers.keeper.client import Exit, Keeper
from drivers.keeper.spawning import Spawned

RELEASE_S = 20.0


@contextlib.asynccontextmanager
async def looked_after(
    keeper: Keeper, key: str, spawned: Spawned, also_kill: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """A block that waits for a process at its end; one that fails kills and reaps the process.

    `also_kill` ends what belongs to it. The pidfd stays open.
    """
    try:
        yield
    except BaseException:  # cancelled, or the keeper is lost
        with trio.move_on_after(RELEASE_S, shield=True):
            kill_process(spawned.pidfd)
            also_kill()
            await trio.lowlevel.wait_readable(spawned.pidfd)
            with contextlib.suppress(DriverError):
                await keeper.wait(key)
        raise


def exit_status(end: Exit, *, oom_killed: bool = False) -> ExitStatus:
    """The meaning of a wait(2) status."""
    code = os.waitstatus_to_exitcode(end.status)
    return ExitStatus(
        code=code if code >= 0 else 128 - code,
        signal=-code if code < 0 else None,
        oom_killed=oom_killed,
        cpu_usec=end.cpu_usec,
        max_rss_bytes=end.max_rss_bytes,
    )
