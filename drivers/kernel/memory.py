"""What of its memory a process passes on, and gives back.

Sources: madvise(2), proc_pid_maps(5), malloc_trim(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Collection

from drivers.kernel.libc import check, libc

_MADV_DONTFORK = 10
_MADV_DOFORK = 11
_madvise = libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def give_back() -> None:
    """Free what only refers to itself, and have the allocator return what is not in use.

    Other C libraries than glibc do the latter by themselves. Blocks, for a few milliseconds.
    """
    gc.collect()
    trim = getattr(libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_from_children(but: Collection[tuple[int, int]]) -> None:
    """Let processes made with a copy of this memory have none of it `but` what is given.

    Each of `but` is an address range; what touches one stays. It holds for the memory that there is
    now.
    """
    with open("/proc/thread-self/maps") as file:
        ranges = [line.split(maxsplit=1)[0].split("-") for line in file]
    for first, last in ranges:
        start, end = int(first, 16), int(last, 16)
        is_given = any(start < high and low < end for low, high in but)
        advice = _MADV_DOFORK if is_given else _MADV_DONTFORK
        with contextlib.suppress(OSError):  # what the kernel itself has mapped
            check(_madvise(start, end - start, advice))
