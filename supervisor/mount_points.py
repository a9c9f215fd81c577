"""The places at which every container has mounts, in one layer beneath all images.

So they are not made in each container's own layer, nor removed with it: a copy of /etc, and three
files in it. What an image has of them is seen instead.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time

from drivers.errors import DriverError
from drivers.storage.base import StorageDriver
from supervisor import log

KEY = "mount-points"
DIRECTORIES = ("dev", "etc", "proc", "sys")
ETC_FILES = ("hostname", "hosts", "resolv.conf")  # that are written for each container
FILES = tuple(f"etc/{name}" for name in ETC_FILES)
_MAKING = threading.Lock()


def beneath_all(storage: StorageDriver) -> str | None:
    """The layer, made if it is not there; blocks.

    None where it is of no use, or cannot be made: what a container lacks is made in its own then.
    """
    if not storage.shows_beneath:
        return None
    with _MAKING:
        if not storage.exists(KEY):
            try:
                _make(storage)
            except DriverError as error:
                log.warning("mount_points.not_made", error=error)
                return None
    return KEY


def _make(storage: StorageDriver) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in DIRECTORIES:
            tar.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        for name in FILES:
            tar.addfile(_entry(name, tarfile.REGTYPE, 0o644))
    layer.seek(0)
    storage.apply_diff(KEY, None, layer)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, time.time()
    return entry
