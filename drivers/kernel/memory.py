"""What of its memory a process passes on, and gives back.

Sources: madvise(2), proc_pid_maps(5), malloc_trim(3), mallopt(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
from collections.abc import Collection

from drivers.kernel.libc import check, libc

_MADV_DONTFORK = 10
_MADV_DOFORK = 11
_M_ARENA_MAX = -8
_madvise = libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_madvise_alone = ctypes.PyDLL(None).madvise  # keeps the interpreter's lock
_madvise_alone.argtypes = _madvise.argtypes
_PAGE_BYTES = resource.getpagesize()
_TOP = 1 << 55  # of what a process can have, on any machine


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


def keep_from_children(but: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """Let processes made with a copy of this memory have none of it `but` what is given.

    Each of `but` is an address range; what touches one stays, and is returned. It holds for the
    memory that there is now; see `keep_newer_from_children`.
    """
    given: list[tuple[int, int]] = []
    with open("/proc/thread-self/maps") as file:
        ranges = [line.split(maxsplit=1)[0].split("-") for line in file]
    for first, last in ranges:
        start, end = int(first, 16), int(last, 16)
        is_given = any(start < high and low < end for low, high in but)
        advice = _MADV_DOFORK if is_given else _MADV_DONTFORK
        given += [(start, end)] if is_given else []
        with contextlib.suppress(OSError):  # what the kernel itself has mapped
            check(_madvise(start, end - start, advice))
    return given


def keep_newer_from_children(given: Collection[tuple[int, int]]) -> None:
    """The same for all memory but `given`, without a look at which there is.

    Threads that run Python are held up meanwhile: what is called next comes before they have more.
    """
    start = _PAGE_BYTES
    for first, last in (*sorted(given), (_TOP, _TOP)):
        if first > start:
            # ENOMEM: not all of it is in use; the rest is advised nevertheless. Source: madvise(2)
            _madvise_alone(start, first - start, _MADV_DONTFORK)
        start = last
