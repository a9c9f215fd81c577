"""Limits: which make sense, which this host can have, and what an update makes of them.

The refusals are in Docker's words, which its users search for.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from drivers.errors import Conflict, InvalidRequest
from drivers.execution.resources import DeviceRate, DeviceWeight, Limits
from supervisor.spec import BlockRate, BlockWeight, ResourceLimits

LEAST_MEMORY_BYTES = 6 * 1024 * 1024
_LEAST_NANO_CPUS = 10_000_000
_LEAST_USEC = 1000
_LONGEST_PERIOD_USEC = 1_000_000
_SHARES = range(2, 262_145)
_WEIGHTS = range(10, 1001)
_SWAPPINESS = range(101)
_CPUSET = re.compile(r"[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*")
_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
_CPUS_FILE = Path("/sys/devices/system/cpu/online")
_MEMS_FILE = Path("/sys/devices/system/node/has_memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProcessors:
    """The processors and memory nodes that containers can be put on: "0-3,5"."""

    cpus: str
    mems: str


def host_processors() -> HostProcessors:
    """Look up what this host has. Source: sysfs-devices-system-cpu, sysfs-devices-node."""
    try:
        mems = _MEMS_FILE.read_text().strip()
    except FileNotFoundError:
        mems = "0"  # a kernel without NUMA
    return HostProcessors(cpus=_CPUS_FILE.read_text().strip(), mems=mems)


def check_values(limits: ResourceLimits) -> None:
    """Raise InvalidRequest, naming the field, for limits that make sense on no host."""
    _check_memory(limits)
    _check_cpu_time(limits)
    _require(
        limits.cpu_shares is None or limits.cpu_shares in _SHARES,
        "cpu_shares",
        f"invalid CPU shares ({limits.cpu_shares}): the range is from 2 to 262144",
    )
    weights = [(limits.blkio_weight, "blkio_weight")]
    weights += [(device.weight, "blkio_weight_device") for device in limits.blkio_weight_device]
    for weight, field in weights:
        within = weight is None or weight in _WEIGHTS
        _require(within, field, "Range of blkio weight is from 10 to 1000")
    for field in _RATES:
        for device in getattr(limits, field):
            within = 0 < device.rate < 2**63
            _require(within, field, f"invalid rate {device.rate} for device {device.path}")
    for what in ("cpus", "mems"):
        _numbers(what, getattr(limits, f"cpuset_{what}"))


def _require(holds: bool, field: str, message: str) -> None:
    if not holds:
        raise InvalidRequest(message, field=field)


def _check_memory(limits: ResourceLimits) -> None:
    memory, swap, reserved = (
        limits.memory_bytes,
        limits.memory_swap_bytes,
        limits.memory_reservation_bytes,
    )
    _require(
        memory is None or memory >= LEAST_MEMORY_BYTES,
        "memory",
        "Minimum memory limit allowed is 6MB",
    )
    _require(
        swap is None or swap < 0 or memory is not None,
        "memory_swap",
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    )
    _require(
        swap is None or swap < 0 or memory is None or swap >= memory,
        "memory_swap",
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    )
    _require(
        reserved is None or reserved >= LEAST_MEMORY_BYTES,
        "memory_reservation",
        "Minimum memory reservation allowed is 6MB",
    )
    _require(
        reserved is None or memory is None or memory >= reserved,
        "memory_reservation",
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    )
    swappiness = limits.memory_swappiness
    _require(
        swappiness is None or swappiness in _SWAPPINESS,
        "memory_swappiness",
        f"Invalid value: {swappiness}, valid memory swappiness range is 0-100",
    )


def _check_cpu_time(limits: ResourceLimits) -> None:
    period, quota = limits.cpu_period_usec, limits.cpu_quota_usec
    for other, name in ((period, "Period"), (quota, "Quota")):
        _require(
            limits.nano_cpus is None or other is None,
            "cpus",
            f"Conflicting options: Nano CPUs and CPU {name} cannot both be set",
        )
    _require(
        period is None or _LEAST_USEC <= period <= _LONGEST_PERIOD_USEC,
        "cpu_period",
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    )
    _require(
        quota is None or quota < 0 or quota >= _LEAST_USEC,
        "cpu_quota",
        "CPU cfs quota can not be less than 1ms (i.e. 1000)",
    )


def _numbers(what: str, text: str) -> set[int]:
    """The numbers of "0-2,4". Raises InvalidRequest."""
    message = f"Invalid value {text} for cpuset {what}: invalid format: {text}"
    _require(not text or _CPUSET.fullmatch(text) is not None, f"cpuset_{what}", message)
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        _require(int(first) <= int(last or first), f"cpuset_{what}", message)
        found.update(range(int(first), int(last or first) + 1))
    return found


def check_on_host(limits: ResourceLimits, host: HostProcessors) -> None:
    """Raise InvalidRequest for limits that this host cannot have; block devices are looked up."""
    count = len(_numbers("cpus", host.cpus))
    _require(
        limits.nano_cpus is None or _LEAST_NANO_CPUS <= limits.nano_cpus <= count * 10**9,
        "cpus",
        f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available",
    )
    for what, noun, there in (("cpus", "CPUs", host.cpus), ("mems", "memory nodes", host.mems)):
        asked = getattr(limits, f"cpuset_{what}")
        _require(
            _numbers(what, asked) <= _numbers(what, there),
            f"cpuset_{what}",
            f"Requested {noun} are not available - requested {asked}, available: {there}",
        )
    to_driver(limits)


def to_driver(limits: ResourceLimits) -> Limits:
    """Limits as the execution driver takes them: devices by number.

    Raises InvalidRequest naming a path that is no block device.
    """
    fields: dict[str, Any] = {name: getattr(limits, name) for name in limits.__struct_fields__}
    fields["blkio_weight_device"] = _weights(limits.blkio_weight_device)
    for name in _RATES:
        fields[name] = _rates(fields[name], name)
    return Limits(**fields)


def _weights(devices: Iterable[BlockWeight]) -> tuple[DeviceWeight, ...]:
    found = []
    for device in devices:
        major, minor = _block_device(device.path, "blkio_weight_device")
        found.append(DeviceWeight(major=major, minor=minor, weight=device.weight))
    return tuple(found)


def _rates(devices: Iterable[BlockRate], field: str) -> tuple[DeviceRate, ...]:
    found = []
    for device in devices:
        major, minor = _block_device(device.path, field)
        found.append(DeviceRate(major=major, minor=minor, rate=device.rate))
    return tuple(found)


def _block_device(path: str, field: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        cause = (getattr(error, "strerror", None) or "not a path").lower()
        raise InvalidRequest(f"invalid block device {path!r}: {cause}", field=field) from error
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidRequest(f"invalid block device {path!r}: not a block device", field=field)
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def updated(limits: ResourceLimits, changes: dict[str, object]) -> ResourceLimits:
    """Limits with some of them replaced.

    Raises Conflict, in Docker's words, for two ways of limiting the processor's time, and
    InvalidRequest.
    """
    for mine, name in (("cpu_period_usec", "CPU Period"), ("cpu_quota_usec", "CPU Quota")):
        if limits.nano_cpus is not None and changes.get(mine) is not None:
            raise Conflict(
                f"Conflicting options: {name} cannot be updated as NanoCPUs has already been set"
            )
        if getattr(limits, mine) is not None and changes.get("nano_cpus") is not None:
            raise Conflict(
                f"Conflicting options: NanoCPUs cannot be updated as {name} has already been set"
            )
    replaced = msgspec.structs.replace(limits, **changes)
    check_values(replaced)
    return replaced
