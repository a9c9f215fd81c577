"""What of its memory a process passes on, and gives back.

Sources: madvise(2), proc_pid_maps(5), malloc_trim(3), mallopt(3).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Collection

from drivers.kernel.libc import check, libc

_MADV_DONTFORK = 10
_MADV_DOFORK = 11
_M_ARENA_MAX = -8
_madvise = libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def share_one_arena() -> None:
    """Let all threads have their memory from one place: of others not all is ever given back.

    Called while there is one thread. Source: mallopt(3).
    """
    set_option = getattr(libc, "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Have the allocator return to the kernel what it keeps of memory that was freed.

    Other C libraries than glibc do so by themselves. Blocks, for less than a millisecond.
    """
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
