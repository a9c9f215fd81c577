"""As many layers as overlayfs takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from drivers.errors import InvalidRequest
from drivers.storage.layout import Layout
from drivers.storage.overlay import (
    MAX_LAYERS,
    OverlayStorage,
    mount_by_descriptor,
    mount_by_path,
)
from tests.layers import entry, layer

DOCKERS_MOST = 125  # layers of an image


def _open(home: Path, count: int, *, by_path: bool) -> OverlayStorage:
    """A storage with so many layers, each over the last and with a directory of its number."""
    layout = Layout(home)
    layout.open()
    storage = OverlayStorage(layout, mount_by_path if by_path else mount_by_descriptor)
    storage.apply_diff("places", None, layer(entry("proc")))
    for number in range(count):
        parent = f"{number - 1:064}" if number else None
        storage.apply_diff(f"{number:064}", parent, layer(entry(f"d{number}")))
    return storage


def _names(storage: OverlayStorage, key: str, layers: int) -> set[str]:
    storage.create(key, f"{layers - 1:064}", "places")
    fd = storage.get(key)
    try:
        return set(os.listdir(f"/proc/self/fd/{fd}"))  # which is an O_PATH one
    finally:
        os.close(fd)
        storage.put(key)


def _made_by(layers: int) -> set[str]:
    return {f"d{number}" for number in range(layers)}


async def test_an_image_may_have_all_the_layers_there_are_and_something_beneath(
    tmp_path: Path,
) -> None:
    def check() -> None:
        storage = _open(tmp_path, MAX_LAYERS + 1, by_path=False)
        most = MAX_LAYERS
        assert _names(storage, "fewer", most - 1) == _made_by(most - 1) | {"proc"}
        # one that has no room for what is beneath makes it itself
        assert _names(storage, "most", most) == _made_by(most)
        with pytest.raises(InvalidRequest, match="more than 500 parents"):
            _names(storage, "more", most + 1)
        storage.cleanup()

    await trio.to_thread.run_sync(check)


async def test_older_kernels_mount_all_that_docker_builds(tmp_path: Path) -> None:
    def check() -> None:
        storage = _open(tmp_path, 2 * DOCKERS_MOST, by_path=True)
        shown = _names(storage, "most", DOCKERS_MOST)
        assert shown == _made_by(DOCKERS_MOST) | {"proc"}
        with pytest.raises(InvalidRequest, match="layers are more than Linux before"):
            _names(storage, "more", 2 * DOCKERS_MOST)
        storage.cleanup()

    await trio.to_thread.run_sync(check)
