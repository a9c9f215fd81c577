"""The shorter filter says what libseccomp's does, to every call."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.execution import seccomp
from drivers.execution.defaults import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from drivers.execution.seccomp_bpf import INSTRUCTION
from drivers.execution.seccomp_slim import slim

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
X32_BIT = 0x40000000
PODMANS = Path("/usr/share/containers/seccomp.json")  # golang-github-containers-common
ARGUMENTS = 6
EDGES = (2**31 - 1, 2**31, 2**32 - 1)

COMPARED = ("clone", "ioctl", "fcntl")
PLAIN = sorted(
    {name for rule in json.loads(seccomp.default_profile())["syscalls"] for name in rule["names"]}
    - {*COMPARED, "socket", "personality"}
)
COMPARING = json.dumps(
    {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": PLAIN, "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
                ],
            },
            {
                "names": ["ioctl", "fcntl"],
                "action": "SCMP_ACT_TRAP",
                "args": [
                    {"index": 1, "value": 2**40 + 5, "op": "SCMP_CMP_GE"},
                    {"index": 2, "value": 7, "op": "SCMP_CMP_NE"},
                ],
            },
        ],
    }
)


def run_filter(program: bytes, number: int, architecture: int, words: list[int]) -> int:
    """What a filter answers. `words` are the arguments, lower half first."""
    data = [number, architecture, 0, 0, *words]
    instructions = list(INSTRUCTION.iter_unpack(program))
    at = value = 0
    while True:
        code, yes, no, operand = instructions[at]
        at += 1
        match code:
            case 0x06:
                return operand
            case 0x20:
                value = data[operand // 4]
            case 0x05:
                at += operand
            case 0x54:
                value &= operand
            case 0x15:
                at += yes if value == operand else no
            case 0x25:
                at += yes if value > operand else no
            case 0x35:
                at += yes if value >= operand else no
            case 0x45:
                at += yes if value & operand else no
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, ALL_CAPABILITIES, frozenset()])
@pytest.mark.parametrize(
    "profile",
    [seccomp.default_profile, PODMANS.read_text, lambda: COMPARING],
    ids=["default", "podman", "comparing"],
)
def test_it_answers_every_call_as_before(
    profile: Callable[[], str], capabilities: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = seccomp.compile_filter.__wrapped__(profile(), capabilities)
    monkeypatch.setattr(seccomp, "slim", lambda program, architectures: program)
    long = seccomp.compile_filter.__wrapped__(profile(), capabilities)
    assert len(short) < len(long)
    operands = sorted({operand for _, _, _, operand in INSTRUCTION.iter_unpack(long)})
    near = [n + d for n in operands for d in (-1, 0, 1) if 0 <= n + d < 2**32]
    rng = random.Random(1)
    numbers = [*range(600), *(X32_BIT + n for n in range(600)), *EDGES]
    for architecture in (X86_64, I386, AARCH64, 0):
        for number in numbers:
            for _ in range(3):
                words = [rng.choice(near) for _ in range(2 * ARGUMENTS)]
                assert run_filter(short, number, architecture, words) == run_filter(
                    long, number, architecture, words
                ), (hex(architecture), number, words)


def test_the_default_filter_is_a_third_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    short = seccomp.compile_filter.__wrapped__(seccomp.default_profile(), DEFAULT_CAPABILITIES)
    monkeypatch.setattr(seccomp, "slim", lambda program, architectures: program)
    long = seccomp.compile_filter.__wrapped__(seccomp.default_profile(), DEFAULT_CAPABILITIES)
    assert 3 * len(short) < len(long)


@pytest.mark.parametrize(
    "instruction",
    [
        (0x45, 0, 1, 1),  # a bit of the number
        (0x25, 0, 1, 5),  # after the architecture was loaded: others are told apart
        (0x07, 0, 0, 0),  # a register that libseccomp does not use
    ],
)
def test_what_is_not_understood_stays_as_it_is(instruction: tuple[int, int, int, int]) -> None:
    word = 4 if instruction[0] == 0x25 else 0
    code = [(0x20, 0, 0, word), instruction, (0x06, 0, 0, 0), (0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(INSTRUCTION.pack(*one) for one in code)
    assert slim(program, [X86_64]) == program
