"""Device rules put into force: by the v1 controller, or by a program attached to a v2 group."""

from __future__ import annotations

import errno
import functools
import itertools
import os
from collections.abc import Sequence

from drivers.errors import LimitUnavailable
from drivers.execution.device_program import assemble
from drivers.execution.device_rules import DEFAULT_DEVICE_RULES, allows_all, v1_lines
from drivers.execution.resources import DeviceRule
from drivers.kernel import bpf
from drivers.kernel.user_namespace import in_user_namespace


def restrict_v1(directory: str, rules: Sequence[DeviceRule]) -> None:
    """Write effective rules to a new group of the `devices` controller. Raises OSError."""
    for allow, group in itertools.groupby(rules, lambda rule: rule.allow):
        file = f"{directory}/devices.{'allow' if allow else 'deny'}"
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for rule in group:
                for line in v1_lines(rule):
                    os.write(fd, line.encode())
        finally:
            os.close(fd)


def restrict_v2(directory: str, rules: Sequence[DeviceRule]) -> None:
    """Attach a program of effective rules to a group. Raises LimitUnavailable, OSError."""
    if allows_all(rules):
        return
    try:
        _attach(directory, tuple(rules))
    except OSError as error:
        if error.errno == errno.EPERM and in_user_namespace():
            return  # nobody in it can make a device file, nor open one the host does not let him
        cause = (error.strerror or "refused").lower()
        raise LimitUnavailable(
            f"devices cannot be restricted here: control group {directory}, bpf: {cause} "
            "(it takes a kernel with CONFIG_CGROUP_BPF, and CAP_BPF)"
        ) from error


def _attach(directory: str, rules: tuple[DeviceRule, ...]) -> None:
    usual = rules == DEFAULT_DEVICE_RULES
    program = _usual_program() if usual else bpf.load_device_program(assemble(rules))
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            bpf.attach_device_program(group, program)
        finally:
            os.close(group)
    finally:
        if not usual:
            os.close(program)  # the group keeps it


@functools.cache
def _usual_program() -> int:
    """The program of the default rules, loaded once: to load costs more than to attach."""
    return bpf.load_device_program(assemble(DEFAULT_DEVICE_RULES))
