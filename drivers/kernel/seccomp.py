"""Filters of system calls, compiled by libseccomp to the programs that seccomp(2) takes.

Sources: seccomp_init(3), seccomp_attr_set(3), seccomp_arch_add(3), seccomp_rule_add(3),
seccomp_export_bpf(3), include/seccomp.h; seccomp(2) for what the kernel does with the result.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

LIBRARY = "libseccomp.so.2"
UNKNOWN_SYSCALL = -1  # __NR_SCMP_ERROR


class Action(enum.IntEnum):
    """What becomes of a call; ERRNO and TRACE carry a number in the lower 16 bits."""

    KILL_THREAD = 0x00000000
    KILL_PROCESS = 0x80000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000


class Compare(enum.IntEnum):
    """How an argument is compared; MASKED_EQ uses the first number as the mask."""

    NE = 1
    LT = 2
    LE = 3
    EQ = 4
    GE = 5
    GT = 6
    MASKED_EQ = 7


class _Attribute(enum.IntEnum):
    """Of a filter, as seccomp_attr_set(3) numbers them."""

    BAD_ARCH = 2
    NO_NEW_PRIVS = 3
    OPTIMIZE = 8  # libseccomp 2.5


_BINARY_TREE = 2  # a search instead of a walk through every rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A condition on one argument, counted from 0."""

    index: int
    compare: Compare
    first: int
    second: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of a call whose arguments meet all conditions."""

    syscall: str
    action: int  # an `Action`, its number included
    arguments: tuple[Argument, ...] = ()


class _Version(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint) for name in ("major", "minor", "micro"))


class _ArgumentCompare(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    """The library with its functions' types. Raises OSError if it is not there."""
    library = ctypes.CDLL(LIBRARY)
    number, context = ctypes.c_uint32, ctypes.c_void_p
    for name, result, arguments in (
        ("seccomp_version", ctypes.POINTER(_Version), ()),
        ("seccomp_init", context, (number,)),
        ("seccomp_release", None, (context,)),
        ("seccomp_attr_set", ctypes.c_int, (context, ctypes.c_int, number)),
        ("seccomp_arch_native", number, ()),
        ("seccomp_arch_resolve_name", number, (ctypes.c_char_p,)),
        ("seccomp_arch_add", ctypes.c_int, (context, number)),
        ("seccomp_arch_remove", ctypes.c_int, (context, number)),
        ("seccomp_syscall_resolve_name_arch", ctypes.c_int, (number, ctypes.c_char_p)),
        (
            "seccomp_rule_add_array",
            ctypes.c_int,
            (context, number, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_ArgumentCompare)),
        ),
        ("seccomp_export_bpf", ctypes.c_int, (context, ctypes.c_int)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def version() -> tuple[int, int, int]:
    """Of the library. Source: seccomp_version(3). Raises OSError if it is not there."""
    found = _library().seccomp_version().contents
    return found.major, found.minor, found.micro


def native_architecture() -> int:
    """The token of this machine's architecture (an AUDIT_ARCH). Source: seccomp_arch_native(3)."""
    return int(_library().seccomp_arch_native())


def architecture(name: str) -> int:
    """The token of "x86_64"; 0 for one that the library does not know.

    Source: seccomp_arch_resolve_name(3).
    """
    return int(_library().seccomp_arch_resolve_name(name.encode()))


def syscall_number(name: str, token: int) -> int:
    """The number of a call on an architecture.

    UNKNOWN_SYSCALL for a name that the library does not know; another negative number for a call
    that this architecture does not have. Source: seccomp_syscall_resolve_name(3).
    """
    return int(_library().seccomp_syscall_resolve_name_arch(token, name.encode()))


class Filter:
    """A filter in the making; `with` frees it.

    Every failure is an OSError with the library's number, or the name that is not known.
    """

    def __init__(
        self, default: int, *, architectures: Iterable[int], bad_architecture: int
    ) -> None:
        """For these architectures, the native one among them, and no other."""
        self._library = _library()
        self._context = self._library.seccomp_init(default)
        if not self._context:
            raise OSError(errno.EINVAL, "seccomp_init")
        try:
            self._set_up(frozenset(architectures), bad_architecture)
        except BaseException:  # the library frees nothing by itself
            self.__exit__(None, None, None)
            raise

    def _set_up(self, architectures: frozenset[int], bad_architecture: int) -> None:
        attributes = {
            _Attribute.NO_NEW_PRIVS: 0,  # whoever installs the filter decides that
            _Attribute.OPTIMIZE: _BINARY_TREE,
            _Attribute.BAD_ARCH: bad_architecture,
        }
        for attribute, value in attributes.items():
            _check(self._library.seccomp_attr_set(self._context, attribute, value), attribute.name)
        native = native_architecture()
        for token in architectures - {native}:
            _check(self._library.seccomp_arch_add(self._context, token), f"arch {token:#x}")
        if native not in architectures:
            _check(self._library.seccomp_arch_remove(self._context, native), "native arch")

    def __enter__(self) -> Filter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._library.seccomp_release(self._context)

    def add(self, rule: Rule) -> None:
        """Add a rule for every architecture that has the call.

        Raises OSError: EDOM if the numbers fit no architecture, EINVAL for a wrong argument.
        """
        number = syscall_number(rule.syscall, native_architecture())
        compared = (_ArgumentCompare * len(rule.arguments))(
            *(_ArgumentCompare(a.index, a.compare, a.first, a.second) for a in rule.arguments)
        )
        result = self._library.seccomp_rule_add_array(
            self._context, rule.action, number, len(rule.arguments), compared
        )
        _check(result, rule.syscall)

    def program(self) -> bytes:
        """The filter as an array of struct sock_filter. Source: seccomp_export_bpf(3)."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check(self._library.seccomp_export_bpf(self._context, fd), "export")
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)
