"""The C library, and raw system calls by number, with errno turned into OSError."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)

_syscall = libc.syscall
_syscall.restype = ctypes.c_long

# Numbers of 424 and above are the same on every architecture since Linux 5.1.
# Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
OPEN_TREE = 428
MOVE_MOUNT = 429
FSOPEN = 430
FSCONFIG = 431
FSMOUNT = 432
PIDFD_OPEN = 434
CLONE3 = 435
CLOSE_RANGE = 436
OPENAT2 = 437
MOUNT_SETATTR = 442
PIDFD_SEND_SIGNAL = 424

PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine(), -1)
EXECVEAT = {"x86_64": 322, "aarch64": 281}.get(platform.machine(), -1)


def check(result: int, *, path: str | bytes | None = None) -> int:
    """`result`, or the OSError that errno tells of if it is negative."""
    if result >= 0:
        return result
    number = ctypes.get_errno()
    if path is None:
        raise OSError(number, os.strerror(number))
    raise OSError(number, os.strerror(number), os.fsdecode(path))


def syscall(number: int, *arguments: Any, path: str | bytes | None = None) -> int:
    """Call the kernel; integers are passed as long, bytes and ctypes pointers as they are.

    Source: syscall(2). Raises OSError, with `path` as its file name where given.
    """
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(_syscall(ctypes.c_long(number), *passed), path=path)
