"""Device rules as a program for the kernel, for v2 has no files for them.

Pure: rules in, machine code of the kernel's virtual machine out.
Sources: Documentation/bpf/standardization/instruction-set.rst; struct bpf_cgroup_dev_ctx in
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

from drivers.execution.device_rules import decides_all
from drivers.execution.resources import DeviceRule

_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL = 7

# Registers: r0 is the answer, r1 points to what is asked, and is used freely once that is read.
_R0, _R1, _TYPE, _WANTED, _MAJOR, _MINOR = range(6)

_LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
_MOVE_NUMBER = 0xB7
_MOVE = 0xBF
_AND_NUMBER = 0x57
_SHIFT_RIGHT = 0x77
_IF_EQUAL = 0x16  # 32 bits wide, with a number
_IF_NOT_EQUAL = 0x56
_EXIT = 0x95

_Instruction = tuple[int, int, int, int, int]  # code, dst, src, offset, number


def assemble(rules: Sequence[DeviceRule]) -> bytes:
    """The program: 1 for an access that the rules allow, 0 for one they do not.

    The last rule that fits decides, for each of read, write and mknod; what none allows is denied.
    """
    program: list[_Instruction] = [
        (_LOAD_WORD, _TYPE, _R1, 0, 0),
        (_MOVE, _WANTED, _TYPE, 0, 0),
        (_AND_NUMBER, _TYPE, 0, 0, 0xFFFF),
        (_SHIFT_RIGHT, _WANTED, 0, 0, 16),
        (_LOAD_WORD, _MAJOR, _R1, 4, 0),
        (_LOAD_WORD, _MINOR, _R1, 8, 0),
    ]
    for rule in reversed(rules):
        program += _rule(rule)
        if decides_all(rule):
            break  # the kernel refuses a program with instructions that are never reached
    else:
        program += _answer(allow=False)
    return b"".join(_encode(*instruction) for instruction in program)


def _rule(rule: DeviceRule) -> list[_Instruction]:
    """Answer if the rule settles what is wanted; go on with the rest of it otherwise."""
    bits = sum(_ACCESS[letter] for letter in set(rule.access))
    decision: list[_Instruction]
    if bits == _ALL:
        decision = _answer(allow=rule.allow)
    elif rule.allow:
        answer = _answer(allow=True)
        decision = [
            (_AND_NUMBER, _WANTED, 0, 0, _ALL & ~bits),
            (_IF_NOT_EQUAL, _WANTED, 0, len(answer), 0),
            *answer,
        ]
    else:
        answer = _answer(allow=False)
        decision = [
            (_MOVE, _R1, _WANTED, 0, 0),
            (_AND_NUMBER, _R1, 0, 0, bits),
            (_IF_EQUAL, _R1, 0, len(answer), 0),
            *answer,
        ]
    tests = [(_TYPE, _TYPES.get(rule.kind)), (_MAJOR, rule.major), (_MINOR, rule.minor)]
    asked = [(register, number) for register, number in tests if number is not None]
    skips: list[_Instruction] = [
        (_IF_NOT_EQUAL, register, 0, len(asked) - 1 - at + len(decision), number)
        for at, (register, number) in enumerate(asked)
    ]
    return skips + decision


def _answer(*, allow: bool) -> list[_Instruction]:
    return [(_MOVE_NUMBER, _R0, 0, 0, int(allow)), (_EXIT, 0, 0, 0, 0)]


def _encode(code: int, dst: int, src: int, offset: int, number: int) -> bytes:
    """Eight bytes in the host's order; which half byte comes first depends on it as well."""
    registers = src << 4 | dst if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhI", code, registers, offset, number & 0xFFFFFFFF)
