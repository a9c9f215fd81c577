"""System calls by number. Source: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h; from 424 on both have the same numbers.
"""

from __future__ import annotations

import enum
import platform

_MACHINES = ("x86_64", "aarch64")
_AT = _MACHINES.index(platform.machine()) if platform.machine() in _MACHINES else 0


class Call(enum.IntEnum):
    """The numbers of this machine."""

    READ = (0, 63)[_AT]
    WRITE = (1, 64)[_AT]
    CLOSE = (3, 57)[_AT]
    RT_SIGPROCMASK = (14, 135)[_AT]
    IOCTL = (16, 29)[_AT]
    SOCKET = (41, 198)[_AT]
    CLONE = (56, 220)[_AT]
    EXECVE = (59, 221)[_AT]
    FCNTL = (72, 25)[_AT]
    CHDIR = (80, 49)[_AT]
    FCHDIR = (81, 50)[_AT]
    UMASK = (95, 166)[_AT]
    SETSID = (112, 157)[_AT]
    SETGROUPS = (116, 159)[_AT]
    SETRESUID = (117, 147)[_AT]
    SETRESGID = (119, 149)[_AT]
    SETFSUID = (122, 151)[_AT]
    SETFSGID = (123, 152)[_AT]
    CAPSET = (126, 91)[_AT]
    PIVOT_ROOT = (155, 41)[_AT]
    PRCTL = (157, 167)[_AT]
    MOUNT = (165, 40)[_AT]
    UMOUNT2 = (166, 39)[_AT]
    SETHOSTNAME = (170, 161)[_AT]
    SETDOMAINNAME = (171, 162)[_AT]
    OPENAT = (257, 56)[_AT]
    MKDIRAT = (258, 34)[_AT]
    MKNODAT = (259, 33)[_AT]
    FCHOWNAT = (260, 54)[_AT]
    NEWFSTATAT = (262, 79)[_AT]
    SYMLINKAT = (266, 36)[_AT]
    FCHMODAT = (268, 53)[_AT]
    UNSHARE = (272, 97)[_AT]
    DUP3 = (292, 24)[_AT]
    PRLIMIT64 = (302, 261)[_AT]
    SETNS = (308, 268)[_AT]
    SECCOMP = (317, 277)[_AT]
    BPF = (321, 280)[_AT]
    EXECVEAT = (322, 281)[_AT]
    PIDFD_SEND_SIGNAL = 424
    OPEN_TREE = 428
    MOVE_MOUNT = 429
    FSOPEN = 430
    FSCONFIG = 431
    FSMOUNT = 432
    PIDFD_OPEN = 434
    CLONE3 = 435
    CLOSE_RANGE = 436
    OPENAT2 = 437
    MOUNT_SETATTR = 442
