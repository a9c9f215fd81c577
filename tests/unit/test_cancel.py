from __future__ import annotations

import pytest
import trio

from tests.cancel import cancel_everywhere


async def test_work_is_cancelled_at_each_step_and_then_completes() -> None:
    reached: list[int] = []

    async def work() -> None:
        reached.append(0)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            reached[-1] += 1

    async def check() -> None:
        pass

    steps = await cancel_everywhere(work, check)
    assert steps == len(reached)
    assert set(reached) == {0, 1, 2, 3}
    assert reached == sorted(reached)


async def test_with_a_stride_the_same_steps_have_their_turn_each_time() -> None:
    reached: list[int] = []

    async def work() -> None:
        reached.append(0)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
            reached[-1] += 1

    async def check() -> None:
        pass

    await cancel_everywhere(work, check, stride=4)
    first, reached = reached, []
    await cancel_everywhere(work, check, stride=4)
    assert reached == first
    assert (len(first), first[-1]) == (4, 10)


async def test_what_is_left_at_one_step_only_is_found() -> None:
    left: list[str] = []

    async def work() -> None:
        left.append("it")
        await trio.lowlevel.checkpoint()  # nobody sees to it that it is released
        left.clear()

    async def check() -> None:
        assert left == []

    with pytest.raises(AssertionError):
        await cancel_everywhere(work, check)


async def test_work_that_never_completes_is_given_up() -> None:
    async def check() -> None:
        pass

    with pytest.raises(AssertionError, match="did not complete within"):
        await cancel_everywhere(_spin, check, most_steps=20)


async def _spin() -> None:
    while True:
        await trio.lowlevel.checkpoint()
