"""Which devices a container may use: Docker's default rules, and how v1 writes them down."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.execution.resources import DeviceRule

_EVERY_ACCESS = frozenset("rwm")


def _char(major: int, minor: int | None) -> DeviceRule:
    return DeviceRule(kind="c", major=major, minor=minor)


# Any device file may be made; what may be used is what every container has in its /dev.
DEFAULT_DEVICE_RULES: tuple[DeviceRule, ...] = (
    DeviceRule(allow=False),
    DeviceRule(kind="c", access="m"),
    DeviceRule(kind="b", access="m"),
    _char(1, 3),  # null
    _char(1, 5),  # zero
    _char(1, 7),  # full
    _char(1, 8),  # random
    _char(1, 9),  # urandom
    _char(5, 0),  # tty
    _char(5, 1),  # console
    _char(5, 2),  # ptmx
    _char(136, None),  # pts/*
)


def effective(rules: Sequence[DeviceRule]) -> tuple[DeviceRule, ...]:
    """The default's and then `rules`, without those that a later one for all devices undoes."""
    every = (*DEFAULT_DEVICE_RULES, *rules)
    for at in range(len(every) - 1, 0, -1):
        if decides_all(every[at]):
            return every[at:]
    return every


def decides_all(rule: DeviceRule) -> bool:
    """Whether nothing that was said before a rule counts any more."""
    every_device = rule.kind == "a" and rule.major is None and rule.minor is None
    return every_device and set(rule.access) >= _EVERY_ACCESS


def allows_all(rules: Sequence[DeviceRule]) -> bool:
    """Whether effective rules restrict nothing, as those of privileged containers do."""
    return len(rules) == 1 and rules[0].allow


def v1_lines(rule: DeviceRule) -> list[str]:
    """A rule as devices.allow and devices.deny take it. Source: cgroup-v1/devices.rst."""
    if decides_all(rule):
        return ["a"]
    major, minor = ("*" if n is None else str(n) for n in (rule.major, rule.minor))
    # the kernel would take "a" for every device and access, whatever stands behind it
    kinds = ("b", "c") if rule.kind == "a" else (rule.kind,)
    return [f"{kind} {major}:{minor} {rule.access}" for kind in kinds]
