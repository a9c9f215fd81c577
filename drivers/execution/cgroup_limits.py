"""Which files of a control group say what limits. Pure: from limits to what is to be written.

Sources: the kernel's cgroup-v2.rst and cgroup-v1/{memory,cpusets,blkio-controller}.rst,
scheduler/sched-bwc.rst; the conversions from v1's units are those of the OCI runtimes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from drivers.execution.resources import DeviceRate, Limits

CPU_PERIOD_USEC = 100_000  # Docker's and the kernel's default
_DEFAULT_SHARES = 1024
_DEFAULT_WEIGHT = 100
_WEIGHT_HELP = "it takes a kernel with BFQ, and for a device that this is its scheduler"

Version = Literal[1, 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One value for one limit.

    `files` has names with values: the first file that exists is written. No file at all means
    that this version has no such limit; a value of None is what the group above has.
    """

    controller: str
    limit: str  # its name, for errors
    files: tuple[tuple[str, str | None], ...]
    optional: bool = False  # not asked for by name: without the file it is left out
    help: str = "see `crechectl doctor` for the controllers of this host"


def changes(version: Version, before: Limits, after: Limits) -> list[Write]:
    """What to write, in this order, so that `after` holds instead of `before`."""
    writes: list[Write] = []
    for names, settings in _SETTINGS:
        if any(getattr(before, name) != getattr(after, name) for name in names):
            writes += settings(version, before, after)
    return writes


def _one(controller: str, limit: str, file: str, value: str | None) -> Write:
    return Write(controller=controller, limit=limit, files=((file, value),))


def _memory(version: Version, before: Limits, after: Limits) -> list[Write]:
    unlimited = "max" if version == 2 else "-1"
    value = unlimited if after.memory_bytes is None else str(after.memory_bytes)
    file = "memory.max" if version == 2 else "memory.limit_in_bytes"
    memory = _one("memory", "memory", file, value)
    swap = _swap(version, after)
    # v1 refuses memory above memory and swap together, at any moment
    rises = version == 1 and _total(after) > _total(before)
    return [swap, memory] if rises else [memory, swap]


def _swap(version: Version, limits: Limits) -> Write:
    """Swap: v1 limits memory and swap together, v2 swap alone."""
    total = _total(limits)
    if version == 1:
        file, value = "memory.memsw.limit_in_bytes", "-1" if math.isinf(total) else str(int(total))
    else:
        own = total - (limits.memory_bytes or 0)
        file, value = "memory.swap.max", "max" if math.isinf(own) else str(int(own))
    asked = limits.memory_swap_bytes is not None
    return Write(controller="memory", limit="swap", files=((file, value),), optional=not asked)


def _total(limits: Limits) -> float:
    """Memory and swap together, in bytes: twice the memory if only that is limited."""
    total = limits.memory_swap_bytes
    if limits.memory_bytes is None or (total is not None and total < 0):
        return math.inf
    return 2 * limits.memory_bytes if total is None else total


def _reservation(version: Version, before: Limits, after: Limits) -> list[Write]:
    asked = after.memory_reservation_bytes
    if version == 2:
        return [_one("memory", "memory reservation", "memory.low", str(asked or 0))]
    value = "-1" if asked is None else str(asked)
    return [_one("memory", "memory reservation", "memory.soft_limit_in_bytes", value)]


def _swappiness(version: Version, before: Limits, after: Limits) -> list[Write]:
    limit = "memory swappiness"
    if version == 2:
        asked = after.memory_swappiness is not None
        return [Write(controller="memory", limit=limit, files=())] if asked else []
    value = None if after.memory_swappiness is None else str(after.memory_swappiness)
    return [_one("memory", limit, "memory.swappiness", value)]


def _oom_control(version: Version, before: Limits, after: Limits) -> list[Write]:
    limit = "oom-kill-disable"
    if version == 2:
        asked = after.oom_kill_disable
        return [Write(controller="memory", limit=limit, files=())] if asked else []
    return [_one("memory", limit, "memory.oom_control", str(int(after.oom_kill_disable)))]


def _cpu_time(version: Version, before: Limits, after: Limits) -> list[Write]:
    period = after.cpu_period_usec or CPU_PERIOD_USEC
    quota = after.cpu_quota_usec
    if after.nano_cpus is not None:
        quota = after.nano_cpus * period // 1_000_000_000
    limited = quota is not None and quota > 0
    if version == 2:
        return [_one("cpu", "cpu time", "cpu.max", f"{quota if limited else 'max'} {period}")]
    return [
        _one("cpu", "cpu time", "cpu.cfs_period_us", str(period)),
        _one("cpu", "cpu time", "cpu.cfs_quota_us", str(quota if limited else -1)),
    ]


def _cpu_shares(version: Version, before: Limits, after: Limits) -> list[Write]:
    shares = after.cpu_shares or _DEFAULT_SHARES
    if version == 1:
        return [_one("cpu", "cpu shares", "cpu.shares", str(shares))]
    return [_one("cpu", "cpu shares", "cpu.weight", str(cpu_weight(shares)))]


def cpu_weight(shares: int) -> int:
    """v2's weight, 1 to 10000, for v1's shares, 2 to 262144; 1024 shares are the usual 100.

    Source: the OCI runtimes' conversion since runc 1.3.2, quadratic in the logarithm.
    """
    if shares <= 2:
        return 1
    if shares >= 262_144:
        return 10_000
    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def _cpus(version: Version, before: Limits, after: Limits) -> list[Write]:
    return [_one("cpuset", "cpuset cpus", "cpuset.cpus", after.cpuset_cpus or _unset(version))]


def _mems(version: Version, before: Limits, after: Limits) -> list[Write]:
    return [_one("cpuset", "cpuset mems", "cpuset.mems", after.cpuset_mems or _unset(version))]


def _unset(version: Version) -> str | None:
    """v2 takes an empty line; a write of nothing would not reach the kernel. v1 takes neither."""
    return "\n" if version == 2 else None


def _pids(version: Version, before: Limits, after: Limits) -> list[Write]:
    limited = after.pids is not None and after.pids > 0
    value = str(after.pids) if limited else "max"
    return [_one("pids", "the number of processes", "pids.max", value)]


def _block_weight(version: Version, before: Limits, after: Limits) -> list[Write]:
    weight = after.blkio_weight
    value = str(weight or _DEFAULT_WEIGHT)
    if version == 1:
        files = (("blkio.bfq.weight", value), ("blkio.weight", value))
        return [Write(controller="blkio", limit="block io weight", files=files, help=_WEIGHT_HELP)]
    by_cost = str(_DEFAULT_WEIGHT if weight is None else io_weight(weight))
    files = (("io.bfq.weight", value), ("io.weight", by_cost))
    return [Write(controller="io", limit="block io weight", files=files, help=_WEIGHT_HELP)]


def io_weight(weight: int) -> int:
    """v2's io.weight, 1 to 10000, for v1's weight, 10 to 1000. Source: the OCI runtimes."""
    return 1 + (weight - 10) * 9999 // 990


def _device_weights(version: Version, before: Limits, after: Limits) -> list[Write]:
    weights: dict[str, int | None] = {
        f"{w.major}:{w.minor}": None for w in before.blkio_weight_device
    }
    weights |= {f"{w.major}:{w.minor}": w.weight for w in after.blkio_weight_device}
    writes = []
    for device, weight in weights.items():
        limit = f"block io weight of device {device}"
        if version == 1:
            value = f"{device} {weight or 0}"
            files = (("blkio.bfq.weight_device", value), ("blkio.weight_device", value))
            controller = "blkio"
        else:
            own = "default" if weight is None else str(weight)
            by_cost = "default" if weight is None else str(io_weight(weight))
            files = (("io.bfq.weight", f"{device} {own}"), ("io.weight", f"{device} {by_cost}"))
            controller = "io"
        writes.append(Write(controller=controller, limit=limit, files=files, help=_WEIGHT_HELP))
    return writes


def _rates(field: str, v1_file: str, v2_key: str) -> Callable[..., list[Write]]:
    """How the rates of a field of `Limits` are written."""

    def settings(version: Version, before: Limits, after: Limits) -> list[Write]:
        old: Iterable[DeviceRate] = getattr(before, field)
        new: Iterable[DeviceRate] = getattr(after, field)
        rates = {f"{r.major}:{r.minor}": 0 for r in old}
        rates |= {f"{r.major}:{r.minor}": r.rate for r in new}
        limit = field.replace("_", "-")
        if version == 1:
            file = f"blkio.throttle.{v1_file}_device"
            return [_one("blkio", limit, file, f"{at} {rate}") for at, rate in rates.items()]
        return [
            _one("io", limit, "io.max", f"{at} {v2_key}={rate or 'max'}")
            for at, rate in rates.items()
        ]

    return settings


# The fields of Limits that go together, and what to write if one of them changes.
_SETTINGS: tuple[tuple[tuple[str, ...], Callable[[Version, Limits, Limits], list[Write]]], ...] = (
    (("memory_bytes", "memory_swap_bytes"), _memory),
    (("memory_reservation_bytes",), _reservation),
    (("memory_swappiness",), _swappiness),
    (("oom_kill_disable",), _oom_control),
    (("nano_cpus", "cpu_period_usec", "cpu_quota_usec"), _cpu_time),
    (("cpu_shares",), _cpu_shares),
    (("cpuset_cpus",), _cpus),
    (("cpuset_mems",), _mems),
    (("pids",), _pids),
    (("blkio_weight",), _block_weight),
    (("blkio_weight_device",), _device_weights),
    (("device_read_bps",), _rates("device_read_bps", "read_bps", "rbps")),
    (("device_write_bps",), _rates("device_write_bps", "write_bps", "wbps")),
    (("device_read_iops",), _rates("device_read_iops", "read_iops", "riops")),
    (("device_write_iops",), _rates("device_write_iops", "write_iops", "wiops")),
)
