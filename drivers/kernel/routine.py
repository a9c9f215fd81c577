"""The few instructions that carry out a `Program` in a new process, and where they are kept.

Machine code, because between clone3 and exec the new process shares its creator's memory: no
interpreter may run in it. The sources are routine_x86_64.S and routine_aarch64.S beside this file;
a test assembles them and compares.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from collections.abc import Callable

from drivers.kernel.libc import libc

_CODE: dict[str, str] = {
    "x86_64": (
        "5341544889fb488b03488b7b08488b7310488b53184531d24531c00f054885c07404415c5bc34c8b"
        "63204c896328498b0424498b7c2408488b3f498b742410488b36498b542418488b124d8b5424204d"
        "8b124d8b4424284d8b004d8b4c24304d8b090f054989442438483d01f0ffff73074d8b642440ebb2"
        "498b5424504839c274124883fa01740cbf7f000000b8e70000000f054d8b642448eb8f"
    ),
    "aarch64": (
        "e90300aa280140a9210941a9030080d2040080d2010000d4400000b4c0035fd62a1140f92a1500f9"
        "480140f9408540a9428d41a9449542a9000040f9210040f9420040f9630040f9840040f9a50040f9"
        "010000d4401d00f91ffc3fb1620000544a2140f9f0ffff174b2940f97f0100ebc00000547f0500f1"
        "80000054e00f80d2c80b80d2010000d44a2540f9e6ffff17"
    ),
}


def code(machine: str) -> bytes:
    """The routine for a machine. Raises KeyError for one that has none."""
    return bytes.fromhex(_CODE[machine])


_mmap = libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_MAP_FAILED = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1


def load() -> tuple[Callable[[int], int], tuple[int, int]]:
    """The routine of this machine as a function of a header's address, and where it is.

    It is never unloaded.

    From a file in memory, mapped to be read and executed: at no time it can be written as well.
    While it runs other threads do too. Raises KeyError for a machine that has none, OSError.
    """
    instructions = code(platform.machine())
    memfd = os.memfd_create("creche-routine", os.MFD_CLOEXEC)
    try:
        os.write(memfd, instructions)
        protection = mmap.PROT_READ | mmap.PROT_EXEC
        address = _mmap(None, len(instructions), protection, mmap.MAP_PRIVATE, memfd, 0)
    finally:
        os.close(memfd)
    if address == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "mmap")
    function = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(address)
    return function, (address, address + len(instructions))
