"""Storage drivers as the conformance suite sees them: one row each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.storage import overlay, vfs
from drivers.storage.base import StorageDriver
from drivers.storage.layout import Layout

Open = Callable[[Path, Mapping[str, str]], Awaitable[StorageDriver]]


async def _open_overlay_by_path(home: Path, options: Mapping[str, str]) -> StorageDriver:
    """Overlay as kernels before 6.5 mount it."""
    layout = Layout(home)
    layout.open()
    return overlay.OverlayStorage(layout, overlay.mount_by_path)


@dataclass(frozen=True)
class Row:
    """A driver, how it is opened, and what it cannot."""

    name: str
    open: Open
    driver: str
    lacks: frozenset[str] = frozenset()


ROWS = [
    Row("overlay", overlay.open_driver, "overlay"),
    Row("overlay-by-path", _open_overlay_by_path, "overlay"),
    Row("vfs", vfs.open_driver, "vfs", frozenset({"shared_layers"})),
]
