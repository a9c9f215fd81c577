"""Attacks through system calls that containers have no use for. ATTACKS 16."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from typing import Any

from drivers.execution.defaults import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from drivers.execution.seccomp import compile_filter, default_profile, filter_of
from drivers.kernel import seccomp as k
from tests.attacks import try_syscalls

BAD = -1  # no descriptor, no pointer, no id: whatever gets through to the kernel fails harmlessly
_CLONE_FLAGS = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)

# What no container may call by default, with arguments that the kernel itself would refuse.
BLOCKED: dict[str, list[int]] = {
    "acct": [BAD],
    "add_key": [BAD, BAD, 0, 0, 0],
    "bpf": [BAD, 0, 0],
    "clock_settime": [BAD, BAD],
    "delete_module": [BAD, 0],
    "fanotify_init": [BAD, BAD],
    "finit_module": [BAD, 0, 0],
    "fsconfig": [BAD, BAD, 0, 0, 0],
    "fsmount": [BAD, BAD, 0],
    "fsopen": [BAD, BAD],
    "fspick": [BAD, BAD, BAD],
    "get_mempolicy": [BAD, 0, 0, 0, BAD],
    "init_module": [BAD, 0, 0],
    "io_uring_enter": [BAD, 0, 0, 0, 0, 0],
    "io_uring_register": [BAD, BAD, 0, 0],
    "io_uring_setup": [0, BAD],
    "ioperm": [BAD, 1, 1],
    "iopl": [99],
    "kcmp": [BAD, BAD, BAD, 0, 0],
    "kexec_file_load": [BAD, BAD, 0, 0, BAD],
    "kexec_load": [0, BAD, BAD, BAD],
    "keyctl": [9999],
    "lookup_dcookie": [0, BAD, 0],
    "mbind": [1, 1, BAD, 0, 0, BAD],
    "mount": [BAD, BAD, BAD, 0, 0],
    "mount_setattr": [BAD, BAD, BAD, 0, 0],
    "move_mount": [BAD, BAD, BAD, BAD, BAD],
    "move_pages": [BAD, 1, BAD, 0, 0, BAD],
    "name_to_handle_at": [BAD, BAD, BAD, BAD, BAD],
    "nfsservctl": [BAD, 0, 0],
    "open_by_handle_at": [BAD, BAD, 0],
    "open_tree": [BAD, BAD, BAD],
    "perf_event_open": [BAD, 0, 0, 0, 0],
    "pidfd_getfd": [BAD, 0, 0],
    "pivot_root": [BAD, BAD],
    "process_madvise": [BAD, 0, 0, 0, BAD],
    "quotactl": [BAD, BAD, 0, 0],
    "quotactl_fd": [BAD, BAD, 0, 0],
    "reboot": [0, 0, 0, 0],
    "request_key": [BAD, BAD, 0, 0],
    "set_mempolicy": [BAD, BAD, 0],
    "setdomainname": [BAD, 8],
    "sethostname": [BAD, 8],
    "setns": [BAD, 0],
    "settimeofday": [BAD, BAD],
    "swapoff": [BAD],
    "swapon": [BAD, BAD],
    "syslog": [BAD, 0, 0],
    "umount2": [BAD, BAD],
    "unshare": [BAD],
    "userfaultfd": [BAD],
    "ustat": [BAD, BAD],
    "vhangup": [],  # not tried without the filter
}
# The kernel's own answer to these is EPERM or nothing at all, whoever asks.
_NOT_TELLING = {"vhangup", "reboot", "settimeofday", "lookup_dcookie", "nfsservctl", "kexec_load"}
_NOT_TELLING |= {"swapon", "swapoff", "syslog"}


def attempt(code: bytes | None, calls: list[tuple[str, int, list[int]]]) -> list[int]:
    """The errno of each call, under a filter."""
    asked = {"filter": (code or b"").hex(), "calls": calls}
    ran = subprocess.run(
        [sys.executable, try_syscalls.__file__],
        input=json.dumps(asked) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran
    return [int(number) for number in json.loads(ran.stdout)]


def number(name: str, architecture: str = "") -> int:
    token = k.architecture(architecture) if architecture else k.native_architecture()
    return k.syscall_number(name, token)


def default_filter(**changes: Any) -> bytes:
    return compile_filter(default_profile(), changes.get("capabilities", DEFAULT_CAPABILITIES))


def native_calls() -> dict[str, tuple[str, int, list[int]]]:
    there = {name: number(name) for name in BLOCKED}
    return {name: ("native", n, BLOCKED[name]) for name, n in there.items() if n >= 0}


def test_every_blocked_call_is_refused() -> None:
    """ATTACKS 16."""
    calls = native_calls()
    found = dict(zip(calls, attempt(default_filter(), list(calls.values())), strict=True))
    assert found == dict.fromkeys(calls, errno.EPERM)
    assert len(calls) > 45


def test_it_is_the_filter_that_refuses() -> None:
    """ATTACKS 16: without it the kernel gives other answers to the same calls."""
    calls = {name: call for name, call in native_calls().items() if name not in _NOT_TELLING}
    found = dict(zip(calls, attempt(None, list(calls.values())), strict=True))
    assert {name for name, answer in found.items() if answer in (0, errno.EPERM)} == set()


def test_no_new_namespace_by_clone() -> None:
    """ATTACKS 16."""
    clone = number("clone")
    calls = [("native", clone, [flag, BAD, 0, 0, 0]) for flag in _CLONE_FLAGS]
    assert set(attempt(default_filter(), calls)) == {errno.EPERM}


def test_clone3_answers_as_an_old_kernel() -> None:
    """ATTACKS 16: its flags cannot be seen, and C libraries go on with clone."""
    assert attempt(default_filter(), [("native", number("clone3"), [0, 0])]) == [errno.ENOSYS]


def test_a_call_newer_than_the_profile_answers_as_an_old_kernel() -> None:
    found = attempt(default_filter(), [("native", n, [BAD]) for n in (600, 4000, 100_000)])
    assert set(found) == {errno.ENOSYS}


def test_no_socket_to_the_hypervisor() -> None:
    """ATTACKS 16."""
    socket = number("socket")
    calls = [("native", socket, [family, 1, 0]) for family in (40, 1, 2)]
    assert attempt(default_filter(), calls) == [errno.EPERM, 0, 0]


def test_no_personality_but_the_harmless() -> None:
    """ATTACKS 16: ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC and others that weaken a process."""
    personality = number("personality")
    asked = (0xFFFFFFFF, 0, 0x0040000, 0x0400000, 0x0100000, 0x0200000, 1)
    found = attempt(default_filter(), [("native", personality, [value]) for value in asked])
    assert found == [0, 0, *[errno.EPERM] * 5]


def test_capabilities_open_what_they_are_for() -> None:
    calls = native_calls()
    everything = default_filter(capabilities=ALL_CAPABILITIES)
    still = {"add_key", "keyctl", "request_key", "userfaultfd", "ustat", "swapon", "swapoff",
             "kexec_load", "kexec_file_load", "move_pages", "nfsservctl", "pivot_root",
             "name_to_handle_at"}  # fmt: skip
    still |= {name for name in calls if name.startswith("io_uring_")}
    opened = {name: call for name, call in calls.items() if name not in still | _NOT_TELLING}
    found = dict(zip(opened, attempt(everything, list(opened.values())), strict=True))
    assert {name for name, answer in found.items() if answer == errno.EPERM} == set()
    refused = [calls[name] for name in sorted(still & calls.keys())]
    assert set(attempt(everything, refused)) == {errno.EPERM}


def test_an_unconfined_container_has_no_filter() -> None:
    assert filter_of("unconfined", DEFAULT_CAPABILITIES) is None
    assert filter_of("default", DEFAULT_CAPABILITIES) == default_filter()
