"""Limits as `linux.resources` of an OCI configuration. Source: OCI runtime specification 1.1,
config-linux.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drivers.execution.resources import DeviceRate, DeviceRule, DeviceWeight, Limits

CPU_PERIOD_USEC = 100_000  # the kernel's default


def make_resources(
    limits: Limits, device_rules: Iterable[DeviceRule], *, swap: bool
) -> dict[str, Any]:
    """The resources of a new container; without `swap` this host cannot limit it.

    Every device is denied at first; the runtime itself allows those that each container has.
    """
    found: dict[str, Any] = {
        "devices": [{"allow": False, "access": "rwm"}, *(_rule(rule) for rule in device_rules)]
    }
    memory, cpu, block = _memory(limits, swap=swap), _cpu(limits), _block(limits)
    if memory:
        found["memory"] = memory
    if cpu:
        found["cpu"] = cpu
    if block:
        found["blockIO"] = block
    if limits.pids is not None and limits.pids > 0:
        found["pids"] = {"limit": limits.pids}
    return found


def _memory(limits: Limits, *, swap: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if limits.memory_bytes is not None:
        found["limit"] = limits.memory_bytes
    if limits.memory_swap_bytes is not None and swap:
        found["swap"] = limits.memory_swap_bytes
    if limits.memory_reservation_bytes is not None:
        found["reservation"] = limits.memory_reservation_bytes
    if limits.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def _cpu(limits: Limits) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if limits.nano_cpus is not None:
        found["period"] = CPU_PERIOD_USEC
        found["quota"] = limits.nano_cpus * CPU_PERIOD_USEC // 1_000_000_000
    if limits.cpu_period_usec is not None:
        found["period"] = limits.cpu_period_usec
    if limits.cpu_quota_usec is not None:
        found["quota"] = limits.cpu_quota_usec
    if limits.cpu_shares is not None:
        found["shares"] = limits.cpu_shares
    if limits.cpuset_cpus:
        found["cpus"] = limits.cpuset_cpus
    if limits.cpuset_mems:
        found["mems"] = limits.cpuset_mems
    return found


def _block(limits: Limits) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if limits.blkio_weight is not None:
        found["weight"] = limits.blkio_weight
    if limits.blkio_weight_device:
        found["weightDevice"] = [_weight(device) for device in limits.blkio_weight_device]
    throttled = {
        "throttleReadBpsDevice": limits.device_read_bps,
        "throttleWriteBpsDevice": limits.device_write_bps,
        "throttleReadIOPSDevice": limits.device_read_iops,
        "throttleWriteIOPSDevice": limits.device_write_iops,
    }
    found |= {name: [_rate(rate) for rate in rates] for name, rates in throttled.items() if rates}
    return found


def _weight(device: DeviceWeight) -> dict[str, int]:
    return {"major": device.major, "minor": device.minor, "weight": device.weight}


def _rate(device: DeviceRate) -> dict[str, int]:
    return {"major": device.major, "minor": device.minor, "rate": device.rate}


def _rule(rule: DeviceRule) -> dict[str, Any]:
    found: dict[str, Any] = {"allow": rule.allow, "type": rule.kind, "access": rule.access}
    if rule.major is not None:
        found["major"] = rule.major
    if rule.minor is not None:
        found["minor"] = rule.minor
    return found
