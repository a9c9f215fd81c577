"""Processes: clone3, what a process may do, and what it leaves to the program it executes.

Sources: clone(2), unshare(2), setns(2), pivot_root(2), prctl(2), close_range(2), capset(2).
"""

from __future__ import annotations

import ctypes
import enum
import os
from collections.abc import Iterable

from drivers.kernel import libc as k
from drivers.kernel.libc import check, libc, syscall

# PyDLL keeps the interpreter's lock: between the two halves of a fork nothing else may run.
_locked_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_locked_syscall.restype = ctypes.c_long
# Found here, once: a function that is first looked up after a fork is looked up in every child.
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_unshare = libc.unshare
_setns = libc.setns
_setdomainname = libc.setdomainname
_capset = libc.capset


class CLONE(enum.IntFlag):
    """Flags of clone3(2) and unshare(2)."""

    PIDFD = 0x1000
    NEWNS = 0x20000
    NEWCGROUP = 0x2000000
    NEWUTS = 0x4000000
    NEWIPC = 0x8000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
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
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CLOSE_RANGE_ALL = 0xFFFFFFFF


class _CloneArgs(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def clone3(flags: CLONE, *, exit_signal: int, cgroup_fd: int | None = None) -> tuple[int, int]:
    """Fork with namespaces: (0, -1) in the child, (pid, pidfd) in the parent.

    Only for a process with one thread. With `cgroup_fd` the child is born in that control group
    (v2). Source: clone(2). Raises OSError in the parent.
    """
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArgs()
    arguments.flags = flags | CLONE.PIDFD
    arguments.pidfd = ctypes.addressof(pidfd)
    arguments.exit_signal = exit_signal
    if cgroup_fd is not None:
        arguments.flags |= CLONE.INTO_CGROUP
        arguments.cgroup = cgroup_fd
    size = ctypes.sizeof(arguments)
    _before_fork()
    pid = _locked_syscall(ctypes.c_long(k.CLONE3), ctypes.byref(arguments), ctypes.c_size_t(size))
    if pid == 0:
        _after_fork_child()
        return 0, -1
    number = ctypes.get_errno()
    _after_fork_parent()
    if pid < 0:
        raise OSError(number, os.strerror(number), "clone3")
    return pid, pidfd.value


def unshare(flags: CLONE) -> None:
    """Move the calling thread into new namespaces. Source: unshare(2)."""
    check(_unshare(ctypes.c_int(flags)))


def setns(fd: int, flags: CLONE) -> None:
    """Join the namespaces of `fd`. Source: setns(2)."""
    check(_setns(ctypes.c_int(fd), ctypes.c_int(flags)))


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root mount and attach the old one at `put_old`. Source: pivot_root(2)."""
    syscall(k.PIVOT_ROOT, os.fsencode(new_root), os.fsencode(put_old), path=new_root)


def setdomainname(name: str) -> None:
    """Set the NIS domain name of the UTS namespace. Source: setdomainname(2)."""
    data = name.encode()
    check(_setdomainname(data, ctypes.c_size_t(len(data))))


def prctl(operation: PR, *arguments: int) -> int:
    """Change or read an attribute of the calling process. Source: prctl(2)."""
    return check(_prctl(operation, *arguments, *_NO_ARGUMENTS[len(arguments) :]))


def set_name(name: str) -> None:
    """Set what /proc/self/comm shows, 15 bytes at most. Source: prctl(2), PR_SET_NAME."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR.SET_NAME, ctypes.addressof(buffer))


def close_range(first: int, last: int = _CLOSE_RANGE_ALL) -> None:
    """Close every descriptor from `first` to `last`. Source: close_range(2), Linux 5.9."""
    syscall(k.CLOSE_RANGE, first, last, 0)


def last_capability() -> int:
    """The highest capability this kernel knows. Source: capabilities(7), cap_last_cap."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def drop_bounding(keep: Iterable[int], last: int) -> None:
    """Drop every capability up to `last` that is not in `keep` from the bounding set.

    Source: prctl(2), PR_CAPBSET_DROP; needs CAP_SETPCAP.
    """
    kept = frozenset(keep)
    for number in range(last + 1):
        if number not in kept:
            prctl(PR.CAPBSET_DROP, number)


def clear_ambient() -> None:
    """Empty the ambient set. Source: prctl(2), PR_CAP_AMBIENT_CLEAR_ALL."""
    prctl(PR.CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def set_capabilities(numbers: Iterable[int]) -> None:
    """Make `numbers` the permitted and effective sets; the inheritable set becomes empty.

    Source: capset(2).
    """
    mask = sum(1 << number for number in numbers)
    data = (_CapData * 2)()
    for index in range(2):
        part = (mask >> (32 * index)) & 0xFFFFFFFF
        data[index].effective = part
        data[index].permitted = part
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    check(_capset(ctypes.byref(header), data))
