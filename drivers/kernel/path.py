"""Paths that a container can influence, resolved so that they cannot lead outside.

Source: openat2(2), Linux 5.6.
"""

from __future__ import annotations

import enum
import os
import struct

from drivers.kernel import libc as k
from drivers.kernel.calls import Call


class RESOLVE(enum.IntFlag):
    """How openat2(2) may resolve a path."""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


_OPEN_HOW = struct.Struct("=3Q")  # flags, mode, resolve
OPEN_HOW_BYTES = _OPEN_HOW.size
IN_ROOT = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS


def open_how(flags: int, *, mode: int = 0, resolve: RESOLVE = IN_ROOT) -> bytes:
    """A struct open_how; the descriptor will be close-on-exec. Source: openat2(2)."""
    return _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)


def openat2(
    dir_fd: int,
    path: str | bytes,
    flags: int,
    *,
    mode: int = 0,
    resolve: RESOLVE = IN_ROOT,
) -> int:
    """Open `path` with `dir_fd` as the root directory: `..` and symlinks stay below it.

    The descriptor is close-on-exec. Raises OSError: EAGAIN if a rename raced with `..` (try
    again), ELOOP for a magic link or, with NO_SYMLINKS, any symlink.
    """
    how = open_how(flags, mode=mode, resolve=resolve)
    while True:
        try:
            return k.syscall(
                Call.OPENAT2, dir_fd, os.fsencode(path), how, OPEN_HOW_BYTES, path=path
            )
        except BlockingIOError:  # a rename raced with `..`: the kernel asks to try again
            continue


def makedirs_in_root(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Make `path` and its parents below `root_fd` where missing; an O_PATH fd of the directory.

    Symlinks are followed inside the root, as the container itself would. Raises OSError:
    ENOTDIR if a part is a file, ELOOP for endless or dangling links that cannot be made.
    """
    directory = os.O_PATH | os.O_DIRECTORY
    try:
        return openat2(root_fd, path, directory)
    except FileNotFoundError:
        pass
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for count in range(1, len(parts) + 1):
        prefix = "/".join(parts[:count])
        try:
            os.close(openat2(root_fd, prefix, directory))
        except FileNotFoundError:
            parent = openat2(root_fd, "/".join(parts[: count - 1]) or ".", directory)
            try:
                os.mkdir(parts[count - 1], mode, dir_fd=parent)
            except FileExistsError:
                pass  # another maker was first, or a dangling symlink: the next open tells
            finally:
                os.close(parent)
    return openat2(root_fd, path, directory)
