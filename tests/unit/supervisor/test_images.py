"""The image store: whatever is cancelled, it is whole, and a new daemon can read it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drivers.errors import CrecheError
from drivers.storage import vfs
from supervisor.images.config import ContainerConfig
from supervisor.images.store import ImageStore, open_store
from tests.attacks.test_archives import archive, digest
from tests.cancel import cancel_everywhere
from tests.layers import entry, layer
from tests.shortage import without_descriptors


def _image() -> io.BytesIO:
    layers = [layer(entry(name, b"1")).getvalue() for name in ("a", "b")]
    return archive(layers, [digest(each) for each in layers])


async def _load(images: ImageStore) -> None:
    await images.load(_image())
    await images.load(_image())


async def _import(images: ImageStore) -> None:
    tar = layer(entry("c", b"1"))
    await images.import_rootfs(tar, "c:1", message="", config=ContainerConfig())


async def _load_and_remove(images: ImageStore) -> None:
    await images.load(_image())
    (image,) = images.images()
    await images.tag(image.id, "other:1")
    await images.remove("other:1", force=False)
    await images.remove(image.id, force=True)


@pytest.mark.parametrize("work_on", [_load, _import, _load_and_remove])
async def test_cancelled_at_any_step_it_is_whole(
    tmp_path: Path, work_on: Callable[[ImageStore], Awaitable[None]]
) -> None:
    numbers = itertools.count()
    directories: list[Path] = []

    async def work() -> None:
        directories.append(tmp_path / str(next(numbers)))
        storage = await vfs.open_driver(directories[-1] / "storage", {})
        await work_on(await open_store(directories[-1] / "images", storage))

    async def check() -> None:
        await _check_whole(directories[-1])

    assert await cancel_everywhere(work, check) > 10


async def _check_whole(directory: Path) -> None:
    """What a new daemon finds: images with all of their layers, and no layer of none."""
    storage = await vfs.open_driver(directory / "storage", {})
    images = await open_store(directory / "images", storage)
    assert set(storage.keys()) == images.layers()
    for image in images.images():
        assert image.size_bytes > 0


async def test_without_descriptors_nothing_is_half_loaded(tmp_path: Path) -> None:
    """ATTACKS 43."""
    storage = await vfs.open_driver(tmp_path / "storage", {})
    images = await open_store(tmp_path / "images", storage)
    loaded = _image()
    with without_descriptors(), pytest.raises((CrecheError, OSError)):
        await images.load(loaded)
    await _check_whole(tmp_path)
    assert images.images() == []
    await images.load(_image())
    await _check_whole(tmp_path)
