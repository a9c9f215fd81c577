"""Cancelling a piece of work at each of its steps, to show that it never leaves anything behind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable

import trio

MOST_STEPS = 2000  # work that takes more will not end
# On a machine that is far too slow for work that starts many processes: its 1st step, and then
# every so many-th, always the same ones. contrib/vm sets it; elsewhere each step has its turn.
STRIDE = int(os.environ.get("CRECHE_CANCEL_STRIDE", "1"))


class _CancelAt(trio.abc.Instrument):
    """Cancels a scope when any task is about to take the step with this number."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self._left = step
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def cancel_everywhere(
    make_work: Callable[[], Awaitable[object]],
    check: Callable[[], Awaitable[object]],
    *,
    most_steps: int = MOST_STEPS,
    stride: int = 1,
) -> int:
    """Do the work again and again, cancelled at its 1st, 2nd, 3rd ... step, until it completes.

    A step is a task running from one checkpoint to the next. `check` is called after each time,
    and raises if something is left. With a `stride` only every so many-th step has its turn.
    Returns the first step at which the work had completed.
    """
    for step in itertools.count(1, stride):
        assert step <= most_steps, f"the work did not complete within {most_steps} steps"
        with trio.CancelScope() as scope:
            instrument = _CancelAt(step, scope)
            trio.lowlevel.add_instrument(instrument)
            try:
                await make_work()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        await check()
        if not scope.cancel_called:
            return step
    raise AssertionError("unreachable: the count has no end")
