"""Mounts as file descriptors, and the older mount(2) where a kernel needs it.

Sources: mount(2), umount2(2), fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2),
mount_setattr(2); include/uapi/linux/mount.h for the numbers.
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct

from drivers.kernel import libc as k
from drivers.kernel.calls import Call
from drivers.kernel.libc import libc, syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6


class MS(enum.IntFlag):
    """Flags of mount(2)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    REMOUNT = 0x20
    BIND = 0x1000
    MOVE = 0x2000
    REC = 0x4000
    PRIVATE = 0x40000
    SLAVE = 0x80000
    SHARED = 0x100000


class MNT(enum.IntFlag):
    """Flags of umount2(2)."""

    FORCE = 0x1
    DETACH = 0x2


class ATTR(enum.IntFlag):
    """Attributes of one mount: fsmount(2) and mount_setattr(2)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    IDMAP = 0x100000  # Linux 5.12; who owns a file is seen through a user namespace


_MOUNT_ATTR = struct.Struct("=4Q")  # attr_set, attr_clr, propagation, userns_fd
MOUNT_ATTR_BYTES = _MOUNT_ATTR.size


_mount = libc.mount
_mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_umount2 = libc.umount2
_umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def mount(
    source: str | None, target: str, fstype: str | None, flags: MS = MS(0), data: str | None = None
) -> None:
    """Attach a file system at `target` of this mount namespace. Source: mount(2)."""
    arguments = [None if a is None else os.fsencode(a) for a in (source, target, fstype)]
    k.check(_mount(*arguments, flags, None if data is None else os.fsencode(data)), path=target)


def umount(target: str, flags: MNT = MNT(0)) -> None:
    """Detach `target`. Source: umount2(2). Raises OSError: EINVAL if it is no mount."""
    k.check(_umount2(os.fsencode(target), flags), path=target)


def fsopen(fstype: str) -> int:
    """A context (fd) in which a new file system of `fstype` is configured. Source: fsopen(2)."""
    return syscall(Call.FSOPEN, fstype.encode(), FSOPEN_CLOEXEC, path=fstype)


def fsconfig_string(context: int, key: str, value: str) -> None:
    """Set an option; at most 255 bytes of value reach the file system. Source: fsconfig(2)."""
    syscall(
        Call.FSCONFIG, context, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0, path=key
    )


def fsconfig_flag(context: int, key: str) -> None:
    """Set an option that has no value. Source: fsconfig(2)."""
    syscall(Call.FSCONFIG, context, FSCONFIG_SET_FLAG, key.encode(), None, 0, path=key)


def fsconfig_fd(context: int, key: str, fd: int) -> None:
    """Set an option to an open file; overlay's layers take it since 6.13. Source: fsconfig(2)."""
    syscall(Call.FSCONFIG, context, FSCONFIG_SET_FD, key.encode(), None, fd, path=key)


def fsconfig_create(context: int) -> None:
    """Make the superblock from what was configured. Source: fsconfig(2)."""
    syscall(Call.FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(context: int, attributes: ATTR = ATTR(0)) -> int:
    """A detached mount (fd) of the configured file system. Source: fsmount(2)."""
    return syscall(Call.FSMOUNT, context, FSMOUNT_CLOEXEC, attributes)


def open_tree_clone(path: str, *, dir_fd: int = AT_FDCWD, recursive: bool = False) -> int:
    """A detached copy (fd) of the mount at `path`: a bind mount that is attached nowhere.

    An empty path means `dir_fd` itself. Source: open_tree(2).
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    if recursive:
        flags |= AT_RECURSIVE
    if not path:
        flags |= AT_EMPTY_PATH
    return syscall(Call.OPEN_TREE, dir_fd, os.fsencode(path), flags, path=path)


def move_mount(mount_fd: int, target: str, *, dir_fd: int = AT_FDCWD) -> None:
    """Attach a detached mount at `target`, or at `dir_fd` itself if `target` is empty.

    Source: move_mount(2).
    """
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if target else MOVE_MOUNT_T_EMPTY_PATH)
    syscall(Call.MOVE_MOUNT, mount_fd, b"", dir_fd, os.fsencode(target), flags, path=target)


def mount_attr(
    *, set_: ATTR = ATTR(0), clear: ATTR = ATTR(0), propagation: MS = MS(0), userns_fd: int = 0
) -> bytes:
    """A struct mount_attr. Source: mount_setattr(2)."""
    return _MOUNT_ATTR.pack(set_, clear, propagation, userns_fd)


def mount_setattr(
    fd: int,
    *,
    set_: ATTR = ATTR(0),
    clear: ATTR = ATTR(0),
    propagation: MS = MS(0),
    recursive: bool = False,
    userns_fd: int | None = None,
) -> None:
    """Change the attributes of the mount `fd`. Source: mount_setattr(2), Linux 5.12.

    With `userns_fd` owners are seen through that user namespace's maps, which a mount can get once
    and before it is attached. Raises OSError: EINVAL if the file system cannot do that.
    """
    if userns_fd is not None:
        set_ |= ATTR.IDMAP
    attr = mount_attr(set_=set_, clear=clear, propagation=propagation, userns_fd=userns_fd or 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall(Call.MOUNT_SETATTR, fd, b"", flags, attr, MOUNT_ATTR_BYTES)


def filesystem_context_message(context: int) -> str:
    """The kernel's own words on why configuring `context` failed, or "" if it said none.

    Source: fsopen(2), "message retrieval interface".
    """
    os.set_blocking(context, False)
    try:
        return os.read(context, 4096).decode(errors="replace").strip()
    except OSError:  # ENODATA: the kernel has nothing to say
        return ""
