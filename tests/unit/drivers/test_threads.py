"""Blocking calls where no thread can be started."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from drivers.threads import in_thread_or_here
from tests.shortage import without_threads


async def test_a_call_is_made_here_if_no_thread_can_be_started() -> None:
    """ATTACKS 43."""
    limiter = trio.CapacityLimiter(1)
    async with without_threads():
        with pytest.raises(RuntimeError):
            await trio.to_thread.run_sync(threading.get_ident)
        assert await in_thread_or_here(threading.get_ident) == threading.get_ident()
        assert await in_thread_or_here(max, 1, 2, limiter=limiter) == 2
        with pytest.raises(RuntimeError, match="a bug"):
            await in_thread_or_here(_fail)
    assert limiter.borrowed_tokens == 0
    assert await in_thread_or_here(threading.get_ident) != threading.get_ident()


def _fail() -> None:
    raise RuntimeError("a bug")
