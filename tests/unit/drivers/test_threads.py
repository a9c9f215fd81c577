"""Blocking calls where no thread can be started."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from drivers.execution.resources import Limits
from drivers.threads import in_thread_or_here
from tests.shortage import limited


async def test_a_call_is_made_here_if_no_thread_can_be_started() -> None:
    """ATTACKS 43."""
    limiter = trio.CapacityLimiter(1)
    async with _without_threads():
        with pytest.raises(RuntimeError):
            await trio.to_thread.run_sync(threading.get_ident)
        assert await in_thread_or_here(threading.get_ident) == threading.get_ident()
        assert await in_thread_or_here(max, 1, 2, limiter=limiter) == 2
        with pytest.raises(RuntimeError, match="a bug"):
            await in_thread_or_here(_fail)
    assert limiter.borrowed_tokens == 0
    assert await in_thread_or_here(threading.get_ident) != threading.get_ident()


@asynccontextmanager
async def _without_threads() -> AsyncIterator[None]:
    """No thread can be started, and those that had nothing to do are busy."""
    end, refused = threading.Event(), trio.Event()

    async def occupy() -> None:
        try:
            await trio.to_thread.run_sync(end.wait, limiter=trio.CapacityLimiter(1))
        except RuntimeError:
            refused.set()

    with limited(os.getpid(), Limits(pids=1)):
        async with trio.open_nursery() as nursery:
            try:
                while not refused.is_set():
                    nursery.start_soon(occupy)
                    await trio.testing.wait_all_tasks_blocked()
                yield
            finally:
                end.set()


def _fail() -> None:
    raise RuntimeError("a bug")
