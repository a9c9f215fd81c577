"""The layer of mount points: made when it is wanted, and not in anybody's way."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import trio

from drivers import registry
from drivers.errors import NoSpace
from drivers.storage import overlay, vfs
from drivers.storage.base import StorageDriver
from supervisor import mount_points
from supervisor.images.config import ContainerConfig
from supervisor.images.store import open_store
from tests.layers import entry, layer


@pytest.fixture
async def storage(tmp_path: Path) -> StorageDriver:
    return await overlay.open_driver(tmp_path / "overlay", {})


async def _beneath_all(storage: StorageDriver) -> str | None:
    return await trio.to_thread.run_sync(mount_points.beneath_all, storage)


def _paths_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def test_it_is_made_once(storage: StorageDriver) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(_beneath_all, storage)
    assert storage.keys() == [mount_points.KEY]
    assert await _beneath_all(storage) == mount_points.KEY
    made = _paths_below(Path(storage.metadata(mount_points.KEY)["UpperDir"]))
    assert made == {*mount_points.DIRECTORIES, *mount_points.FILES}


async def test_who_copies_layers_has_none(tmp_path: Path) -> None:
    storage = await vfs.open_driver(tmp_path, {})
    assert await _beneath_all(storage) is None
    assert storage.keys() == []


async def test_a_full_disk_keeps_nobody_from_being_made(
    storage: StorageDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(key: str, parent: str | None, layer: io.BytesIO) -> int:
        raise NoSpace("no space left on device")

    with monkeypatch.context() as full:
        full.setattr(storage, "apply_diff", refuse)
        assert await _beneath_all(storage) is None
    assert await _beneath_all(storage) == mount_points.KEY


async def test_it_goes_with_the_last_image(storage: StorageDriver, tmp_path: Path) -> None:
    images = await open_store(tmp_path / "images", storage)
    for name in ("one", "two"):
        await images.import_rootfs(layer(entry(name)), name, message="", config=ContainerConfig())
    await _beneath_all(storage)
    await images.remove("one", force=False)
    assert storage.exists(mount_points.KEY)
    await images.remove("two", force=False)
    assert storage.keys() == []
    storage.cleanup()
    # and so another driver may be chosen
    assert (await registry.choose_storage("vfs", tmp_path, {})).name == "vfs"
