"""The places at which every container has mounts, in one layer beneath all images.

So they are not made in each container's own layer, nor removed with it: a copy of /etc, and three
files in it. What an image has of them is seen instead.
"""

from __future__ import annotations

import io
import tarfile
import time

from drivers.storage.base import StorageDriver

KEY = "mount-points"
DIRECTORIES = ("dev", "etc", "proc", "sys")
ETC_FILES = ("hostname", "hosts", "resolv.conf")  # that are written for each container
FILES = tuple(f"etc/{name}" for name in ETC_FILES)


def make_mount_points(storage: StorageDriver) -> None:
    """Make the layer, if it is not there; blocks. Raises DriverError."""
    if storage.exists(KEY):
        return
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in DIRECTORIES:
            tar.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        for name in FILES:
            tar.addfile(_entry(name, tarfile.REGTYPE, 0o644))
    layer.seek(0)
    storage.apply_diff(KEY, None, layer)


def beneath_all(storage: StorageDriver) -> str | None:
    """The layer, if it could be made; without it each container makes what it lacks."""
    return KEY if storage.exists(KEY) else None


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, time.time()
    return entry
