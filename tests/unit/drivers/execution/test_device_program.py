"""Device rules as a program: run here as the kernel would, and by the kernel itself."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.execution.device_program import assemble
from drivers.execution.device_rules import DEFAULT_DEVICE_RULES, allows_all, effective, v1_lines
from drivers.execution.hierarchy import Hierarchy
from drivers.execution.resources import DeviceRule
from tests.cgroups import both, open_group, running_in

_BITS = {"m": 1, "r": 2, "w": 4}
_ALLOW_ALL = DeviceRule()


def _run(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """The kernel's virtual machine, as far as these programs use it."""
    asked = sum(_BITS[letter] for letter in access) << 16 | {"b": 1, "c": 2}[kind]
    context = struct.pack("=III", asked, major, minor)
    registers = [0] * 6
    at = 0
    while True:
        code, pair, offset, number = struct.unpack_from("=BBhI", program, at * 8)
        dst, src = pair & 15, pair >> 4
        at += 1
        match code:
            case 0x61:
                registers[dst] = struct.unpack_from("=I", context, offset)[0]
            case 0xB7:
                registers[dst] = number
            case 0xBF:
                registers[dst] = registers[src]
            case 0x57:
                registers[dst] &= number
            case 0x77:
                registers[dst] >>= number
            case 0x16:
                at += offset if registers[dst] == number else 0
            case 0x56:
                at += offset if registers[dst] != number else 0
            case 0x95:
                return registers[0] == 1
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def _allowed(rules: tuple[DeviceRule, ...], kind: str, major: int, minor: int, access: str) -> bool:
    """What rules mean: for each letter the last rule that fits decides."""

    def fits(rule: DeviceRule, letter: str) -> bool:
        return (
            rule.kind in ("a", kind)
            and rule.major in (None, major)
            and rule.minor in (None, minor)
            and letter in rule.access
        )

    return all(
        next((rule.allow for rule in reversed(rules) if fits(rule, letter)), False)
        for letter in access
    )


_numbers = st.none() | st.integers(0, 2)
_access = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
_rules = st.builds(
    DeviceRule,
    allow=st.booleans(),
    kind=st.sampled_from("abc"),
    major=_numbers,
    minor=_numbers,
    access=_access,
)


@given(
    rules=st.lists(_rules, max_size=8).map(tuple),
    kind=st.sampled_from("bc"),
    major=st.integers(0, 3),
    minor=st.integers(0, 3),
    access=_access,
)
def test_the_program_decides_as_the_rules_say(
    rules: tuple[DeviceRule, ...], kind: str, major: int, minor: int, access: str
) -> None:
    program = assemble(rules)
    assert _run(program, kind, major, minor, access) == _allowed(rules, kind, major, minor, access)


@pytest.mark.parametrize(
    ("device", "access", "allowed"),
    [
        (("c", 1, 3), "rw", True),
        (("c", 136, 77), "rw", True),
        (("b", 8, 0), "m", True),
        (("b", 8, 0), "r", False),
        (("c", 10, 229), "rw", False),
        (("c", 1, 1), "r", False),  # the memory of the host
    ],
)
def test_the_default_allows_what_every_container_has(
    device: tuple[str, int, int], access: str, allowed: bool
) -> None:
    assert _run(assemble(DEFAULT_DEVICE_RULES), *device, access) == allowed


def test_rules_before_one_for_all_devices_do_not_count() -> None:
    own = DeviceRule(kind="c", major=10, minor=229)
    assert effective((own,)) == (*DEFAULT_DEVICE_RULES, own)
    assert effective((own, _ALLOW_ALL)) == (_ALLOW_ALL,)
    assert allows_all(effective((_ALLOW_ALL,)))
    assert not allows_all(effective((_ALLOW_ALL, own)))
    assert not allows_all(effective(()))


def test_v1_takes_rules_as_lines() -> None:
    assert v1_lines(DeviceRule(allow=False)) == ["a"]
    assert v1_lines(DeviceRule(kind="c", major=136, access="rw")) == ["c 136:* rw"]
    assert v1_lines(DeviceRule(access="r")) == ["b *:* r", "c *:* r"]


@pytest.mark.parametrize("hierarchy", both(), ids=lambda h: f"v{h.version}")
async def test_the_kernel_keeps_processes_from_devices(
    hierarchy: Hierarchy, tmp_path: Path
) -> None:
    full, kernel_log = tmp_path / "full", tmp_path / "kmsg"
    os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    os.mknod(kernel_log, stat.S_IFCHR | 0o666, os.makedev(1, 11))
    script = (
        f"head -c1 {full} | wc -c; (: < {kernel_log}) 2>/dev/null && echo open || echo refused; "
        f"rm -f {tmp_path}/made; mknod {tmp_path}/made b 8 0 && echo made"
    )
    own = DeviceRule(kind="c", major=1, minor=11, access="r")
    for rules, outcome in (((), b"refused"), ((own,), b"open"), ((_ALLOW_ALL,), b"open")):
        async with (
            open_group(hierarchy, device_rules=rules) as group,
            running_in(group, script) as process,
        ):
            assert process.communicate()[0].split() == [b"1", outcome, b"made"]
