"""When mounts are let go of: any descriptor stands for one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from drivers.storage import overlay_ends
from drivers.storage.overlay_ends import OverlayEnds

PATIENCE_S = 30.0


@pytest.fixture
def ends() -> Iterator[OverlayEnds]:
    made = OverlayEnds()
    yield made
    made.close()


def mount() -> tuple[int, int]:
    """A descriptor, and one that tells of its end."""
    told, held = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return held, told


def is_closed(told: int) -> bool:
    try:
        return os.read(told, 1) == b""
    except BlockingIOError:
        return False


def until_closed(told: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_closed(told):
        assert time.monotonic() < end
        time.sleep(0.001)
    os.close(told)


def test_what_is_not_needed_is_closed_by_itself(ends: OverlayEnds) -> None:
    for _ in range(3):
        held, told = mount()
        ends.let_go("k", held)
        until_closed(told)


def test_who_needs_the_layer_again_waits_for_no_other(
    ends: OverlayEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay_ends, "LINGER_S", PATIENCE_S)
    (held, told), (other, told_other) = mount(), mount()
    ends.let_go("k", held)
    ends.let_go("other", other)
    ends.finish("k")
    assert is_closed(told)
    assert not is_closed(told_other)
    ends.finish("unknown")
    ends.finish("other")
    until_closed(told_other)
    os.close(told)


def test_it_goes_on_after_all_that_waited_has_been_taken(ends: OverlayEnds) -> None:
    held, told = mount()
    ends.let_go("k", held)
    time.sleep(overlay_ends.LINGER_S / 4)  # it waits for more by now
    ends.finish("k")
    assert is_closed(told)
    os.close(told)
    time.sleep(2 * overlay_ends.LINGER_S)  # and has found nothing
    held, told = mount()
    ends.let_go("k", held)
    until_closed(told)


def test_many_do_not_wait_for_one_another(
    ends: OverlayEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay_ends, "LINGER_S", 10 * PATIENCE_S)
    mounts = [mount() for _ in range(overlay_ends.MOST)]
    for number, (held, _) in enumerate(mounts):
        ends.let_go(f"k{number}", held)
    for _, told in mounts:
        until_closed(told)


def test_nothing_is_held_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_ends, "LINGER_S", 10 * PATIENCE_S)
    ends = OverlayEnds()
    mounts = [mount() for _ in range(3)]
    for held, _ in mounts:
        ends.let_go("k", held)
    ends.close()
    for _, told in mounts:
        assert is_closed(told)
        os.close(told)
