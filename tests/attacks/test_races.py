"""Attacks by whoever shares a volume and is quick. Each names its line."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from drivers.errors import SpawnFailed, leaves
from drivers.kernel.mount import AT_FDCWD
from tests.host import mounts
from tests.native import Box, bind, open_box

_TRIES = 60
_RENAME_EXCHANGE = 2


@contextmanager
def _swapping(first: Path, second: Path) -> Iterator[list[int]]:
    """Two names change places in a loop, as fast as a thread can; the list counts how often."""
    renameat2 = ctypes.CDLL(None).renameat2
    over, count = threading.Event(), [0]
    names = [os.fsencode(path) for path in (first, second)]

    def swap() -> None:
        while not over.is_set():
            renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], _RENAME_EXCHANGE)
            count[0] += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


async def _start(box: Box, command: str, mounted: dict[str, Path], cwd: str = "/") -> str:
    """Start with new mounts; what the command said, or which step of the start failed."""
    with ExitStack() as held:
        opened = tuple(held.enter_context(bind(path, to)) for to, path in mounted.items())
        try:
            return (await box.shell(command, mounts=opened, cwd=cwd)).stdout
        except* SpawnFailed as group:
            failure = leaves(group)[0]
        return failure.step


@pytest.mark.parametrize("way_out", ["/", "../../../../../../../..", "/proc/1/root"])
async def test_a_mount_point_that_is_swapped_for_a_link_stays_in_the_root(
    tmp_path: Path, way_out: str
) -> None:
    """ATTACKS 4, 10: the swap is won or lost, nothing is mounted or made outside."""
    victim = tmp_path / "victim"
    volume, data = tmp_path / "volume", tmp_path / "data"
    for directory in (victim, volume / "place", data):
        directory.mkdir(parents=True)
    (data / "file").touch()
    (volume / "link").symlink_to(f"{way_out.rstrip('/')}{victim}")
    mounted = {
        "/volume": volume,
        "/volume/place/deep/down": data,
        "/volume/place/made": data / "file",
    }
    before = mounts()
    async with open_box(tmp_path) as box:
        with _swapping(volume / "place", volume / "link") as swaps:
            seen = {await _start(box, "echo ran", mounted) for _ in range(_TRIES)}
        assert swaps[0] > _TRIES
    assert seen <= {"ran\n", "mount /volume/place/deep/down", "mount /volume/place/made"}
    assert mounts() == before
    assert list(victim.iterdir()) == []


async def test_a_working_directory_that_is_swapped_for_a_link_stays_in_the_root(
    tmp_path: Path,
) -> None:
    """ATTACKS 4: what the command sees as its directory is never the host's."""
    (tmp_path / "secret").write_text("secret\n")
    volume = tmp_path / "volume"
    (volume / "place").mkdir(parents=True)
    (volume / "link").symlink_to(f"/proc/1/root{tmp_path}")
    async with open_box(tmp_path) as box:
        with _swapping(volume / "place", volume / "link"):
            seen = {
                await _start(box, "cat secret; :", {"/volume": volume}, cwd="/volume/place")
                for _ in range(_TRIES)
            }
    assert seen <= {"", "change to working directory /volume/place"}
