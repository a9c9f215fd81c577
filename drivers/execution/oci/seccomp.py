"""A resolved profile of system calls as `linux.seccomp`. Source: OCI runtime specification,
config-linux.md; the numbers of actions are the kernel's, seccomp(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

_KIND = 0xFFFF0000
_NUMBER = 0x0000FFFF
_ERRNO, _TRACE = 0x00050000, 0x7FF00000
_ACTIONS = {
    0x00000000: "SCMP_ACT_KILL_THREAD",
    0x80000000: "SCMP_ACT_KILL_PROCESS",
    0x00030000: "SCMP_ACT_TRAP",
    _ERRNO: "SCMP_ACT_ERRNO",
    _TRACE: "SCMP_ACT_TRACE",
    0x7FFC0000: "SCMP_ACT_LOG",
    0x7FFF0000: "SCMP_ACT_ALLOW",
}
# libseccomp's comparisons by their numbers.
_COMPARISONS = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


class Argument(Protocol):
    """A condition on one argument; the first number is the mask of MASKED_EQ."""

    @property
    def index(self) -> int: ...
    @property
    def compare(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def second(self) -> int: ...


class Rule(Protocol):
    """What becomes of a call whose arguments meet all conditions."""

    @property
    def syscall(self) -> str: ...
    @property
    def action(self) -> int: ...
    @property
    def arguments(self) -> Sequence[Argument]: ...


class Resolved(Protocol):
    """What a profile means for one container on one host."""

    @property
    def default_action(self) -> int: ...
    @property
    def architectures(self) -> Sequence[str]:
        """Besides the native one, which a runtime adds by itself: "x86"."""
        ...

    @property
    def rules(self) -> Sequence[Rule]: ...


def linux_seccomp(profile: Resolved) -> dict[str, Any]:
    """The specification's object; calls with the same answer and no conditions are one entry."""
    plain: dict[int, list[str]] = {}
    for rule in profile.rules:
        if not rule.arguments:
            plain.setdefault(rule.action, []).append(rule.syscall)
    entries = [{"names": names, **_action("action", action)} for action, names in plain.items()]
    entries += [_conditional(rule) for rule in profile.rules if rule.arguments]
    return {
        **_action("defaultAction", profile.default_action),
        "architectures": [f"SCMP_ARCH_{name.upper()}" for name in profile.architectures],
        "syscalls": entries,
    }


def _conditional(rule: Rule) -> dict[str, Any]:
    arguments = [
        {
            "index": argument.index,
            "value": argument.first,
            "valueTwo": argument.second,
            "op": f"SCMP_CMP_{_COMPARISONS[argument.compare]}",
        }
        for argument in rule.arguments
    ]
    return {"names": [rule.syscall], **_action("action", rule.action), "args": arguments}


def _action(key: str, action: int) -> dict[str, Any]:
    """The action, and the number that goes with some."""
    kind = action & _KIND
    found: dict[str, Any] = {key: _ACTIONS[kind]}
    if kind in (_ERRNO, _TRACE):
        found["defaultErrnoRet" if key == "defaultAction" else "errnoRet"] = action & _NUMBER
    return found
