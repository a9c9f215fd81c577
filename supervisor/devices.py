"""Devices of the host for a container: paths become numbers, and rules for the control group."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NoReturn

from drivers.errors import InvalidRequest
from drivers.execution.base import Device
from drivers.execution.resources import DeviceRule
from drivers.kernel.user_namespace import in_user_namespace
from supervisor.spec import DeviceMapping, Isolation

# What every container has already, at these paths.
_STANDARD = frozenset(
    f"/dev/{name}"
    for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
)
# Directories of /dev that are no devices of the host but views of whoever looks.
_NOT_OF_THE_HOST = frozenset({"/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue"})
_RULE = re.compile(
    r"(?P<kind>[abc]) (?P<major>[0-9]{1,10}|\*):(?P<minor>[0-9]{1,10}|\*) (?P<access>[rwm]{1,3})"
)
_ACCESS = re.compile(r"[rwm]{1,3}")
_MAX_NUMBER = 2**32 - 1
_EVERYTHING = DeviceRule(allow=True, kind="a", access="rwm")


def devices_of(isolation: Isolation) -> tuple[tuple[Device, ...], tuple[DeviceRule, ...]]:
    """The devices that are made, and what may be used besides what every container may.

    Blocking: the paths are looked up. Raises InvalidRequest, in Docker's words, naming the path
    that is no device, or the rule.
    """
    rules = [parse_rule(text) for text in isolation.device_cgroup_rules]
    devices: dict[str, Device] = {}
    if isolation.privileged:
        devices = {device.path: device for device in _usable(_below("/dev", "/dev"))}
        rules = [_EVERYTHING]
    for mapping in isolation.devices:
        found = _lent(mapping, _mapped(mapping))
        devices |= {device.path: device for device in found}
        if not isolation.privileged:
            rules += [_rule(device, mapping.access) for device in found]
    made = tuple(device for path, device in devices.items() if path not in _STANDARD)
    return made, tuple(rules)


def check_device_values(isolation: Isolation) -> None:
    """Raise InvalidRequest for what is wrong on every host."""
    for text in isolation.device_cgroup_rules:
        parse_rule(text)
    for mapping in isolation.devices:
        if not mapping.source.startswith("/") or "\0" in mapping.source + mapping.target:
            raise InvalidRequest(
                f'invalid device "{mapping.source}": not an absolute path', field="Devices"
            )
        if not _ACCESS.fullmatch(mapping.access):
            raise InvalidRequest(f"invalid device mode: {mapping.access}", field="Devices")
        if _target(mapping) == "/":
            raise InvalidRequest(f'invalid device target "{mapping.target}"', field="Devices")


def parse_rule(text: str) -> DeviceRule:
    """A rule as the v1 controller has it: "c 42:* rmw".

    Source: cgroup-v1/devices.rst. Raises InvalidRequest in Docker's words.
    """
    found = _RULE.fullmatch(text)
    numbers = [None if n == "*" else int(n) for n in found.group("major", "minor")] if found else []
    if found is None or any(n is not None and n > _MAX_NUMBER for n in numbers):
        raise InvalidRequest(
            f"invalid device cgroup rule format: '{text}'", field="DeviceCgroupRules"
        )
    major, minor = numbers
    access = "".join(letter for letter in "rwm" if letter in found["access"])
    return DeviceRule(kind=found["kind"], major=major, minor=minor, access=access)


def _target(mapping: DeviceMapping) -> str:
    return posixpath.normpath("/" + (mapping.target or mapping.source).lstrip("/"))


def _mapped(mapping: DeviceMapping) -> list[Device]:
    """The device of a mapping, or all of a directory."""
    target = _target(mapping)
    try:
        status = os.stat(mapping.source)
        device = _device(target, status, mapping.source)
        if device is not None:
            return [device]
        found = []
        if stat.S_ISDIR(status.st_mode):
            found = list(_below(os.path.realpath(mapping.source), target))
    except OSError as error:
        _refuse(mapping, os.strerror(error.errno or 0).lower(), error)
    if not found:
        _refuse(mapping, "not a device node")
    return found


def _usable(devices: Iterable[Device]) -> list[Device]:
    """All of them; for a rootless daemon, which can only lend, those that its user may open."""
    if not in_user_namespace():
        return list(devices)
    return [d for d in devices if os.access(d.source, os.R_OK) or os.access(d.source, os.W_OK)]


def _lent(mapping: DeviceMapping, devices: list[Device]) -> list[Device]:
    """What is left of a mapping. Raises InvalidRequest for what a rootless daemon cannot do."""
    found = _usable(devices)
    if not found:
        _refuse(mapping, "a rootless daemon lends only what its user may open")
    for letter, mode in (("r", os.R_OK), ("w", os.W_OK)) if in_user_namespace() else ():
        if letter not in mapping.access and any(os.access(d.source, mode) for d in found):
            _refuse(
                mapping,
                f"a rootless daemon cannot keep it to {mapping.access}: ask for rwm, which is "
                "what the user may do",
            )
    return found


def _refuse(mapping: DeviceMapping, cause: str, error: OSError | None = None) -> NoReturn:
    raise InvalidRequest(
        f'error gathering device information while adding custom device "{mapping.source}": '
        f"{cause}",
        field="Devices",
    ) from error


def _below(source: str, target: str) -> Iterator[Device]:
    """Every device below a directory, at the same place below `target`; links are left out.

    What cannot be looked at, because it is just going away, is left out as well.
    """
    for parent, directories, names in os.walk(source, onerror=None):
        inner = partial(posixpath.join, parent)
        directories[:] = sorted(d for d in directories if inner(d) not in _NOT_OF_THE_HOST)
        for name in sorted(names):
            try:
                status = os.lstat(inner(name))
            except OSError:
                continue
            relative = posixpath.relpath(inner(name), source)
            device = _device(posixpath.join(target, relative), status, inner(name))
            if device is not None:
                yield device


def _device(path: str, status: os.stat_result, source: str) -> Device | None:
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    return Device(
        path=path,
        kind=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        source=source,
    )


def _rule(device: Device, access: str) -> DeviceRule:
    letters = "".join(letter for letter in "rwm" if letter in access)
    return DeviceRule(kind=device.kind, major=device.major, minor=device.minor, access=letters)
