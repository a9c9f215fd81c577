"""Paths that a container can influence, resolved so that they cannot lead outside.

Source: openat2(2), Linux 5.6.
"""

from __future__ import annotations

import ctypes
import enum
import os

from drivers.kernel import libc as k


class RESOLVE(enum.IntFlag):
    """How openat2(2) may resolve a path."""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(
    dir_fd: int,
    path: str | bytes,
    flags: int,
    *,
    mode: int = 0,
    resolve: RESOLVE = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS,
) -> int:
    """Open `path` with `dir_fd` as the root directory: `..` and symlinks stay below it.

    The descriptor is close-on-exec. Raises OSError: EAGAIN if a rename raced with `..` (try
    again), ELOOP for a magic link or, with NO_SYMLINKS, any symlink.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    size = ctypes.sizeof(how)
    while True:
        try:
            return k.syscall(
                k.OPENAT2, dir_fd, os.fsencode(path), ctypes.byref(how), size, path=path
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
