"""A file system that never answers: whoever looks into it waits for the kernel, even when killed.

Source: include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from drivers.kernel import mount

_IN_HEADER = struct.Struct("=IIQQIIIHH")  # length, operation, unique, ...
_OUT_HEADER = struct.Struct("=IiQ")  # length, error, unique
_LOOKUP, _GETATTR, _INIT = 1, 3, 26
_VERSION = (7, 31)
_INIT_OUT_BYTES = 64
_ATTRIBUTES = struct.Struct("=QIIQQQQQQIIIIIIIIII")  # validity, ino, size, ..., mode, links, ...
_REQUEST_BYTES = 1 << 17


class SilentFilesystem:
    """Mounted at `path`; `asked` is set once somebody waits in it."""

    def __init__(self, path: Path, device: int) -> None:
        self.path = path
        self.asked = threading.Event()
        self._device = device

    def abort(self) -> None:
        """Let everybody who waits in it go, with an error; it stays where it is mounted."""
        with contextlib.suppress(OSError):  # EBUSY, but it has been done
            mount.umount(str(self.path), mount.MNT.FORCE)

    def serve(self) -> None:
        """Greet the kernel and show it the root; take whatever else it asks without an answer."""
        while True:
            try:
                request = os.read(self._device, _REQUEST_BYTES)
            except OSError:  # ENODEV: it was unmounted
                return
            _, operation, unique, *_ = _IN_HEADER.unpack_from(request)
            if operation == _INIT:
                self._answer(unique, struct.pack("=II", *_VERSION).ljust(_INIT_OUT_BYTES, b"\0"))
            elif operation == _GETATTR:  # of its root, the only inode
                mode = stat.S_IFDIR | 0o755
                self._answer(unique, _ATTRIBUTES.pack(60, 0, 0, 1, *[0] * 8, mode, 2, *[0] * 5))
            elif operation == _LOOKUP:
                self.asked.set()

    def _answer(self, unique: int, answer: bytes) -> None:
        head = _OUT_HEADER.pack(_OUT_HEADER.size + len(answer), 0, unique)
        os.write(self._device, head + answer)


@contextlib.contextmanager
def silent_filesystem(path: Path) -> Iterator[SilentFilesystem]:
    """Mount one at a directory; at the end of the block all who wait in it get an error."""
    path.mkdir(exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    silent = SilentFilesystem(path, device)
    server = threading.Thread(target=silent.serve)
    try:
        options = f"fd={device},rootmode=40755,user_id=0,group_id=0"
        mount.mount("silent", str(path), "fuse", data=options)
        server.start()
        # in use: who was let go would else look again, and see the directory below
        used = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            yield silent
        finally:
            silent.abort()
            os.close(used)
            with contextlib.suppress(OSError):
                mount.umount(str(path), mount.MNT.DETACH)
            server.join()
    finally:
        os.close(device)
