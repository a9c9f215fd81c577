"""What a filter has to say that libseccomp cannot: instructions that go before its program.

Classic BPF on struct seccomp_data. Each piece either answers a call or falls through to its end.
Source: include/uapi/linux/bpf_common.h, include/uapi/linux/seccomp.h, seccomp(2).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from drivers.execution.seccomp_profile import Resolved
from drivers.kernel import seccomp as k

INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, operand

_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _RETURN = 0x20, 0x15, 0x25, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # its lower half: little-endian only
_X32_BIT = 0x40000000  # calls of the x32 ABI come as x86_64's, with this in their number
_KIND = 0xFFFF0000
_REFUSING = (k.Action.ERRNO, k.Action.KILL_THREAD, k.Action.KILL_PROCESS & _KIND, k.Action.TRAP)
_X86 = 0x40000003  # AUDIT_ARCH_I386
# Calls of 32-bit x86 that are many in one, and what libseccomp adds to the number of each to name
# the one that has no number of its own. Source: net.h and ipc.h of include/uapi/linux.
_MANY_IN_ONE = ((102, 100, 20), (117, 200, 24))  # socketcall and ipc: number, base, how many


def answer_newer(resolved: Resolved, architectures: Sequence[int]) -> bytes:
    """ENOSYS for calls newer than all that the profile names.

    A C library tries a new call first, and takes another for ENOSYS only: with EPERM an image
    that is newer than the profile would fail in strange ways.
    """
    if resolved.default_action & _KIND != k.Action.ERRNO:
        return b""
    code = b""
    for token in architectures:
        numbers = [k.syscall_number(rule.syscall, token) for rule in resolved.rules]
        newest = max((n for n in numbers if 0 <= n < _X32_BIT), default=-1)
        if newest >= 0:
            code += _assemble(
                (_LOAD, 0, 0, _ARCHITECTURE_AT),
                (_JUMP_EQUAL, 0, 4, token),
                (_LOAD, 0, 0, _NUMBER_AT),
                (_JUMP_ABOVE, 0, 2, newest),
                (_JUMP_ABOVE, 1, 0, _X32_BIT - 1),
                (_RETURN, 0, 0, k.Action.ERRNO | errno.ENOSYS),
            )
    return code


def refuse_hidden(resolved: Resolved, architectures: Sequence[int]) -> bytes:
    """No way by socketcall(2) or ipc(2) to a call that is allowed for some arguments only.

    Those have the arguments in memory, where a filter does not see them, and libseccomp then
    allows the call whatever they are.
    """
    if _X86 not in architectures or resolved.default_action & _KIND not in _REFUSING:
        return b""
    names = {rule.syscall for rule in resolved.rules if rule.arguments}
    names -= {rule.syscall for rule in resolved.rules if not rule.arguments}
    code = b""
    for name in sorted(names):
        number = -k.syscall_number(name, _X86)
        for many, base, count in _MANY_IN_ONE:
            if base < number <= base + count:
                code += _assemble(
                    (_LOAD, 0, 0, _ARCHITECTURE_AT),
                    (_JUMP_EQUAL, 0, 5, _X86),
                    (_LOAD, 0, 0, _NUMBER_AT),
                    (_JUMP_EQUAL, 0, 3, many),
                    (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
                    (_JUMP_EQUAL, 0, 1, number - base),
                    (_RETURN, 0, 0, resolved.default_action),
                )
    return code


def _assemble(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in instructions)
