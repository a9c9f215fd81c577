"""Attacks through the other ways that x86-64 has into the kernel. ATTACKS 16.

Other machines do not have them, and do not collect this (conftest.py).
"""

from __future__ import annotations

import errno

from tests.attacks.test_syscalls import BAD, BLOCKED, attempt, default_filter, number

X32_BIT = 0x40000000


def test_calls_of_32_bit_programs_do_not_get_around() -> None:
    """ATTACKS 16: by int 0x80, from a 64-bit process too."""
    there = {name: number(name, "x86") for name in (*BLOCKED, "umount", "stime")}
    calls = {
        name: ("i386", n, BLOCKED.get(name, [BAD, 0, 0])) for name, n in there.items() if n >= 0
    }
    getpid = ("i386", number("getpid", "x86"), [])
    assert attempt(None, [getpid]) == [0], "this kernel does not take 32-bit calls"
    found = dict(zip(calls, attempt(default_filter(), list(calls.values())), strict=True))
    assert found == dict.fromkeys(calls, errno.EPERM)
    assert attempt(default_filter(), [getpid]) == [0]


def test_32_bit_sockets_do_not_lead_to_the_hypervisor() -> None:
    """ATTACKS 16: nor by socketcall, whose arguments a filter cannot see."""
    socket, socketcall = 359, number("socketcall", "x86")
    calls = [
        ("i386", socket, [40, 1, 0]),
        ("i386", socket, [1, 1, 0]),
        ("i386", socketcall, [1, BAD]),
        ("i386", socketcall, [2, BAD]),  # SYS_BIND: on to the kernel, which cannot read there
    ]
    found = attempt(default_filter(), calls)
    assert found == [errno.EPERM, 0, errno.EPERM, errno.EFAULT]


def test_x32_calls_do_not_get_around() -> None:
    """ATTACKS 16: none of them is let through, not even those that are allowed otherwise."""
    names = ("getpid", "mount", "unshare", "bpf", "keyctl", "open_by_handle_at", "ptrace")
    calls = [("native", X32_BIT | number(name), [BAD] * 5) for name in names]
    calls += [("native", X32_BIT | n, [BAD] * 5) for n in (512, 520, 521, 545)]  # x32's own
    assert set(attempt(default_filter(), calls)) == {errno.EPERM}
