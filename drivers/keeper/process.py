"""What a process is: its session, groups, namespaces, streams, limits and privileges."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct

from drivers.keeper import steps
from drivers.keeper.plan import ContainerPlan, ProcessPlan
from drivers.kernel.calls import Call
from drivers.kernel.mount import AT_FDCWD
from drivers.kernel.path import RESOLVE
from drivers.kernel.process import CLONE, PR, capability_words
from drivers.kernel.program import ANY_ERROR, Argument, Program, Result, Slot, Words

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_TIOCSCTTY = 0x540E
_F_DUPFD_CLOEXEC = 1030
_AT_EMPTY_PATH = 0x1000
_FIRST_NOT_STANDARD = 3
CLOSE_ALL = 0xFFFFFFFF
_SECCOMP_SET_MODE_FILTER = 1
_AMBIENT_CLEAR_ALL = 4
_SIGSET_BYTES = 8
_FILTER_BYTES = 8  # of one instruction of a filter
_KEEP = -1

Ranges = tuple[tuple[Argument, Argument], ...]  # of descriptors, first and last
ALL_BUT_STANDARD: Ranges = ((_FIRST_NOT_STANDARD, CLOSE_ALL),)
_BENEATH = RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS | RESOLVE.NO_XDEV
_SELF = "thread-self"  # a link that procfs itself makes


def begin(program: Program) -> None:
    """A session of its own, and modes of files as they are asked for."""
    program.step("begin")
    program.call(Call.SETSID)
    program.call(Call.UMASK, 0)


def join_control_groups(program: Program, plan: ProcessPlan, groups: tuple[Argument, ...]) -> None:
    """On v1 enter the groups; on v2 the process was born in its own."""
    if plan.cgroup_version == 1:
        for name, fd in zip(plan.cgroup_hierarchies, groups, strict=True):
            program.step(f"join control group {name}")
            program.call(Call.WRITE, fd, b"0", 1)


def enter_control_groups(program: Program, entrances: tuple[Argument, ...]) -> None:
    """Enter groups by their files of processes, of whichever version."""
    program.step("join control groups")
    for fd in entrances:
        program.call(Call.WRITE, fd, b"0", 1)


def enter_namespaces(program: Program, plan: ContainerPlan, joined: tuple[Argument, ...]) -> None:
    """Join the namespaces given, hide the control groups above, and bring up the loopback."""
    for kind, fd in zip(plan.joined_namespaces, joined, strict=True):
        if kind in (CLONE.NEWPID, CLONE.NEWUSER):
            continue  # it was born there, or is there already
        program.step(f"join namespace {CLONE(kind).name}")
        program.call(Call.SETNS, fd, kind)
    if plan.new_cgroup_namespace:
        # not at clone: the namespace's root is where the process is when it is made
        program.step("unshare cgroup namespace")
        program.call(Call.UNSHARE, CLONE.NEWCGROUP)
    if plan.new_namespaces & CLONE.NEWNET:
        _bring_up_loopback(program)


def _bring_up_loopback(program: Program) -> None:
    """Source: netdevice(7)."""
    program.step("bring up loopback")
    sock = program.call(Call.SOCKET, socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    request = struct.pack("16sh14x", b"lo", _IFF_UP)
    program.call(Call.IOCTL, sock, _SIOCSIFFLAGS, request)


def set_names(program: Program, plan: ContainerPlan, hostname: Slot, length: Slot) -> None:
    """The host's and the domain's name, if they are the container's own."""
    if not plan.new_namespaces & CLONE.NEWUTS:
        return
    program.step("set hostname")
    program.call(Call.SETHOSTNAME, hostname, length)
    if plan.domainname:
        data = os.fsencode(plan.domainname)
        program.call(Call.SETDOMAINNAME, data, len(data))


def write_to_proc(program: Program, plan: ContainerPlan, proc: Result) -> None:
    """What is set through /proc: by the mount that was made here, and never through a link."""
    for name, value in plan.sysctls:
        program.step(f"set sysctl {name}")
        _write(program, proc, f"sys/{name}", value)
    if plan.oom_score_adj is not None:
        program.step("set oom_score_adj")
        _write(program, proc, f"{_SELF}/oom_score_adj", str(plan.oom_score_adj))
    _set_profile(program, plan, proc)


def set_profile_by_keepers(program: Program, plan: ProcessPlan) -> None:
    """Set the profile of AppArmor through the keeper's /proc, while that is seen."""
    if plan.apparmor:
        proc = program.call(Call.OPENAT, AT_FDCWD, b"/proc", steps.DIRECTORY | os.O_CLOEXEC)
        _set_profile(program, plan, proc)


def _set_profile(program: Program, plan: ProcessPlan, proc: Result) -> None:
    """What the command will be confined by. Source: apparmor.d(5), "exec" of attr/exec."""
    if plan.apparmor:
        program.step(f"set AppArmor profile {plan.apparmor}")
        _write(program, proc, f"{_SELF}/attr/exec", f"exec {plan.apparmor}")


def _write(program: Program, proc: Result, path: str, value: str) -> None:
    file = steps.open_in(program, proc, path, os.O_WRONLY, resolve=_BENEATH)
    data = os.fsencode(value)
    program.call(Call.WRITE, file, data, len(data))


def change_directory(program: Program, root: Argument, path: str, *, make: bool) -> None:
    """Go to the working directory; never through a magic link, which may lead to the host."""
    program.step(f"change to working directory {path}")
    if make:
        place = steps.directory(program, root, path)
    else:
        place = steps.open_in(program, root, path, steps.DIRECTORY)
    program.call(Call.FCHDIR, place)


def place_streams(
    program: Program,
    plan: ProcessPlan,
    stdio: tuple[Argument, ...],
    closing: Ranges = ALL_BUT_STANDARD,
) -> None:
    """Give the streams to the user, who may open /dev/stdout again, and put them at 0, 1, 2.

    Last of all that needs descriptors.
    """
    program.step("place standard streams")
    for fd, is_own in zip(stdio, plan.own_streams, strict=True):
        if plan.uid and is_own:
            ids = (plan.uid, _KEEP)
            program.call(Call.FCHOWNAT, fd, b"", *ids, _AT_EMPTY_PATH, unless=ANY_ERROR)
    place_at_standard(program, stdio, closing)


def place_at_standard(
    program: Program,
    stdio: tuple[Argument, ...],
    closing: Ranges = ALL_BUT_STANDARD,
) -> None:
    """Put the streams at 0, 1, 2 and close the ranges of descriptors: everything else."""
    program.step("place standard streams")
    # first out of the way: a stream may have come as 0, 1 or 2
    high = [program.call(Call.FCNTL, fd, _F_DUPFD_CLOEXEC, _FIRST_NOT_STANDARD) for fd in stdio]
    for number, copy in enumerate(high):
        program.call(Call.DUP3, copy, number, 0)
    for first, last in closing:
        # a range of none is an error
        program.call(Call.CLOSE_RANGE, first, last, 0, unless=errno.EINVAL)


def take_terminal(program: Program, terminal: Argument) -> None:
    """Make the terminal the session's."""
    program.step("take terminal")
    program.call(Call.IOCTL, terminal, _TIOCSCTTY, 0)


def set_limits(program: Program, rlimits: list[tuple[int, int, int]]) -> None:
    """Set resource limits; a raised one needs CAP_SYS_RESOURCE."""
    for number, soft, hard in rlimits:
        program.step(f"set rlimit {number}")
        program.call(Call.PRLIMIT64, 0, number, Words((soft, hard)), 0)


def drop_privileges(program: Program, plan: ProcessPlan, bounding: frozenset[int]) -> None:
    """Become the user, with the capabilities given, no way to others, and the system call filter.

    `bounding` is the bounding set so far.

    A filter needs CAP_SYS_ADMIN or no_new_privs: it comes before the first is lost, or last.
    """
    known = sorted(bounding.intersection(plan.capabilities))
    program.step("drop capabilities")
    if plan.no_new_privs:
        program.call(Call.PRCTL, PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for number in sorted(bounding.difference(known)):
        program.call(Call.PRCTL, PR.CAPBSET_DROP, number, 0, 0, 0)
    program.call(Call.PRCTL, PR.SET_KEEPCAPS, 1, 0, 0, 0)
    if plan.filter and not plan.no_new_privs:
        _set_filter(program, plan.filter)
    program.step(f"set user {plan.uid}:{plan.gid}")
    groups = struct.pack(f"={len(plan.groups)}I", *plan.groups)
    program.call(Call.SETGROUPS, len(plan.groups), groups)
    program.call(Call.SETRESGID, plan.gid, plan.gid, plan.gid)
    program.call(Call.SETRESUID, plan.uid, plan.uid, plan.uid)
    program.step("set capabilities")
    program.call(Call.PRCTL, PR.SET_KEEPCAPS, 0, 0, 0, 0)
    program.call(Call.PRCTL, PR.CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    program.call(Call.CAPSET, *capability_words(known if plan.uid == 0 else ()))


def set_late_filter(program: Program, plan: ProcessPlan) -> None:
    """The filter of a process that has no_new_privs: when nothing is left but the command."""
    if plan.filter and plan.no_new_privs:
        _set_filter(program, plan.filter)


def end(program: Program) -> None:
    """What is as a command expects it; nothing but its execution comes after."""
    program.call(Call.UMASK, 0o022)
    # no signal has a handler here: those that come now do what they will do to the command
    program.call(Call.RT_SIGPROCMASK, signal.SIG_SETMASK, bytes(_SIGSET_BYTES), 0, _SIGSET_BYTES)


def _set_filter(program: Program, instructions: bytes) -> None:
    """Source: seccomp(2), struct sock_fprog."""
    program.step("set seccomp filter")
    filter_ = Words((len(instructions) // _FILTER_BYTES, instructions))
    program.call(Call.SECCOMP, _SECCOMP_SET_MODE_FILTER, 0, filter_)
