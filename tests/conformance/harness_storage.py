"""Storage drivers as the conformance suite sees them: one row each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from drivers.storage import overlay, vfs
from drivers.storage.base import StorageDriver
from drivers.storage.layout import Layout

Open = Callable[[Path, Mapping[str, str]], Awaitable[StorageDriver]]


async def _open_overlay_by_path(home: Path, options: Mapping[str, str]) -> StorageDriver:
    """Overlay as kernels before 6.5 mount it."""
    layout = Layout(home)
    layout.open()
    return overlay.OverlayStorage(layout, overlay.mount_by_path)


class InThreads:
    """A driver whose calls are made in threads, as the daemon makes them."""

    def __init__(self, driver: StorageDriver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(trio.to_thread.run_sync, getattr(self._driver, name))


@dataclass(frozen=True)
class Row:
    """A driver, how it is opened, and what it cannot."""

    name: str
    opener: Open
    driver: str
    lacks: frozenset[str] = frozenset()

    async def open(self, home: Path) -> InThreads:
        """The driver over `home`."""
        return InThreads(await self.opener(home, {}))


ROWS = [
    Row("overlay", overlay.open_driver, "overlay"),
    Row("overlay-by-path", _open_overlay_by_path, "overlay"),
    Row("vfs", vfs.open_driver, "vfs", frozenset({"shared_layers"})),
]
