"""Processes: clone3, what a process may do, and what it leaves to the program it executes.

Sources: clone(2), unshare(2), setns(2), pivot_root(2), prctl(2), close_range(2), capset(2).
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct
from collections.abc import Iterable

from drivers.kernel.calls import Call
from drivers.kernel.libc import check, libc, syscall

_unshare = libc.unshare
_setns = libc.setns


class CLONE(enum.IntFlag):
    """Flags of clone3(2) and unshare(2)."""

    VM = 0x100
    FS = 0x200
    FILES = 0x400
    PIDFD = 0x1000
    VFORK = 0x4000
    PARENT_SETTID = 0x100000
    NEWNS = 0x20000
    NEWCGROUP = 0x2000000
    NEWUTS = 0x4000000
    NEWIPC = 0x8000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    CLEAR_SIGHAND = 0x100000000  # Linux 5.5
    INTO_CGROUP = 0x200000000  # Linux 5.7, cgroup v2


class PR(enum.IntEnum):
    """Operations of prctl(2)."""

    SET_DUMPABLE = 4
    SET_KEEPCAPS = 8
    SET_NAME = 15
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    SET_CHILD_SUBREAPER = 36
    SET_NO_NEW_PRIVS = 38
    CAP_AMBIENT = 47


_prctl = libc.prctl
_prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)

_NO_ARGUMENTS = (0, 0, 0, 0)  # the kernel wants those that are not used to be 0
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_HEADER = struct.Struct("=Ii")  # version, pid
_CAP_DATA = struct.Struct("=3I")  # effective, permitted, inheritable; twice, low words first


def clone_args(
    flags: int, *, exit_signal: int = 0, cgroup_fd: int | None = None
) -> tuple[int, ...]:
    """The words of struct clone_args; with `cgroup_fd` the child is born in that group (v2).

    Addresses stay 0. Source: clone(2).
    """
    if cgroup_fd is not None:
        flags |= CLONE.INTO_CGROUP
    return (flags, 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup_fd or 0)


def unshare(flags: CLONE) -> None:
    """Move the calling thread into new namespaces. Source: unshare(2)."""
    check(_unshare(ctypes.c_int(flags)))


def setns(fd: int, flags: CLONE) -> None:
    """Join the namespaces of `fd`. Source: setns(2)."""
    check(_setns(ctypes.c_int(fd), ctypes.c_int(flags)))


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root mount and attach the old one at `put_old`. Source: pivot_root(2)."""
    syscall(Call.PIVOT_ROOT, os.fsencode(new_root), os.fsencode(put_old), path=new_root)


def prctl(operation: PR, *arguments: int) -> int:
    """Change or read an attribute of the calling process. Source: prctl(2)."""
    return check(_prctl(operation, *arguments, *_NO_ARGUMENTS[len(arguments) :]))


def set_name(name: str) -> None:
    """Set what /proc/self/comm shows, 15 bytes at most. Source: prctl(2), PR_SET_NAME."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR.SET_NAME, ctypes.addressof(buffer))


def make_files_as(uid: int, gid: int, capabilities: Iterable[int]) -> None:
    """Let files that this thread makes from now on belong to these ids, and keep its rights.

    `capabilities` are those it has: the change of ids takes some away. Source: setfsuid(2).
    Raises OSError.
    """
    syscall(Call.SETFSGID, gid)
    syscall(Call.SETFSUID, uid)
    syscall(Call.CAPSET, *capability_words(capabilities))


def last_capability() -> int:
    """The highest capability this kernel knows. Source: capabilities(7), cap_last_cap."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def capability_words(numbers: Iterable[int]) -> tuple[bytes, bytes]:
    """The arguments of capset(2): `numbers` permitted and effective, nothing inheritable."""
    mask = sum(1 << number for number in numbers)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = _CAP_DATA.pack(low, low, 0) + _CAP_DATA.pack(high, high, 0)
    return _CAP_HEADER.pack(_CAPABILITY_VERSION_3, 0), data
