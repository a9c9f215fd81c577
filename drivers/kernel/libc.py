"""The C library, and raw system calls by number, with errno turned into OSError."""

from __future__ import annotations

import ctypes
import os
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)

_syscall = libc.syscall
_syscall.restype = ctypes.c_long


def check(result: int, *, path: str | bytes | None = None) -> int:
    """`result`, or the OSError that errno tells of if it is negative."""
    if result >= 0:
        return result
    number = ctypes.get_errno()
    if path is None:
        raise OSError(number, os.strerror(number))
    raise OSError(number, os.strerror(number), os.fsdecode(path))


def raw_syscall(number: int, *arguments: int) -> int:
    """What the kernel answers to words: -errno for a failure. Source: syscall(2)."""
    result = _syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    return -ctypes.get_errno() if result == -1 else int(result)


def check_raw(result: int) -> int:
    """`result` of a system call made without the C library, or the OSError that it tells of."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def syscall(number: int, *arguments: Any, path: str | bytes | None = None) -> int:
    """Call the kernel; integers are passed as long, bytes and ctypes pointers as they are.

    Source: syscall(2). Raises OSError, with `path` as its file name where given.
    """
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(_syscall(ctypes.c_long(number), *passed), path=path)
