"""Limits as Docker's options write them, and POST /containers/{id}/update, which changes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import trio

from drivers.execution.hierarchy import detect, has_block_weights
from supervisor.control.context import Control
from supervisor.control.docker.body import Resources, ThrottleBody, UpdateBody
from supervisor.control.docker.restart import restart_of
from supervisor.control.docker.values import answer
from supervisor.control.http import Answer, Request
from supervisor.spec import BlockRate, BlockWeight, ResourceLimits

R = TypeVar("R", bound=Resources)

# What a limit is called in the body, in the spec, and by the API; 0 says nothing of it.
_PLAIN = (
    ("memory", "memory_bytes", "Memory"),
    ("memory_reservation", "memory_reservation_bytes", "MemoryReservation"),
    ("memory_swap", "memory_swap_bytes", "MemorySwap"),
    ("nano_cpus", "nano_cpus", "NanoCpus"),
    ("cpu_period", "cpu_period_usec", "CpuPeriod"),
    ("cpu_quota", "cpu_quota_usec", "CpuQuota"),
    ("cpu_shares", "cpu_shares", "CpuShares"),
    ("cpuset_cpus", "cpuset_cpus", "CpusetCpus"),
    ("cpuset_mems", "cpuset_mems", "CpusetMems"),
    ("blkio_weight", "blkio_weight", "BlkioWeight"),
)
_RATES = (
    ("blkio_device_read_bps", "device_read_bps", "BlkioDeviceReadBps"),
    ("blkio_device_write_bps", "device_write_bps", "BlkioDeviceWriteBps"),
    ("blkio_device_read_iops", "device_read_iops", "BlkioDeviceReadIOps"),
    ("blkio_device_write_iops", "device_write_iops", "BlkioDeviceWriteIOps"),
)


# What dockerd says of the weights that it drops.
_NO_WEIGHTS = {
    "blkio_weight": "Block I/O weight or the cgroup is not mounted. Weight discarded.",
    "blkio_weight_device": (
        "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded."
    ),
}


async def without_lacking(asked: R) -> tuple[R, list[str]]:
    """What is asked for, but for weights if this kernel knows none; and warnings of that."""
    weights = [name for name in _NO_WEIGHTS if getattr(asked, name)]
    if not weights or await trio.to_thread.run_sync(lambda: has_block_weights(detect())):
        return asked, []
    unset = {name: getattr(Resources(), name) for name in weights}
    warnings = [f"Your kernel does not support {_NO_WEIGHTS[name]}" for name in weights]
    return msgspec.structs.replace(asked, **unset), warnings


def changes_of(asked: Resources) -> dict[str, object]:
    """What a body says, by the names of ResourceLimits."""
    changes: dict[str, object] = {}
    for mine, theirs, _ in _PLAIN:
        if value := getattr(asked, mine):
            changes[theirs] = value
    for mine, theirs, _ in _RATES:
        if devices := getattr(asked, mine):
            changes[theirs] = _rates(devices)
    if asked.blkio_weight_device:
        changes["blkio_weight_device"] = tuple(
            BlockWeight(path=device.path, weight=device.weight)
            for device in asked.blkio_weight_device
        )
    if asked.pids_limit is not None:
        changes["pids"] = asked.pids_limit if asked.pids_limit > 0 else None
    if asked.memory_swappiness not in (None, -1):
        changes["memory_swappiness"] = asked.memory_swappiness
    if asked.oom_kill_disable is not None:
        changes["oom_kill_disable"] = asked.oom_kill_disable
    return changes


def _rates(devices: Iterable[ThrottleBody]) -> tuple[BlockRate, ...]:
    return tuple(BlockRate(path=device.path, rate=device.rate) for device in devices)


def limits_of(asked: Resources) -> ResourceLimits:
    """The limits that a new container asks for; whether they make sense is seen later."""
    changes: dict[str, Any] = changes_of(asked)
    return ResourceLimits(**changes)


def shown_limits(limits: ResourceLimits) -> dict[str, Any]:
    """The fields of HostConfig."""
    shown: dict[str, Any] = {}
    for _, mine, theirs in _PLAIN:
        value = getattr(limits, mine)
        shown[theirs] = 0 if value is None else value
    if limits.memory_swap_bytes is None:
        shown["MemorySwap"] = 2 * (limits.memory_bytes or 0)
    for _, mine, theirs in _RATES:
        shown[theirs] = [{"Path": d.path, "Rate": d.rate} for d in getattr(limits, mine)]
    weights = [{"Path": d.path, "Weight": d.weight} for d in limits.blkio_weight_device]
    return {
        **shown,
        "BlkioWeightDevice": weights,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
    }


async def update(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/update"""
    body, warnings = await without_lacking(await request.json(UpdateBody))
    asked = body.restart_policy
    restart = restart_of(asked) if asked is not None and asked.name else None
    await control.manager.update(request.parameters["id"], changes_of(body), restart)
    return answer({"Warnings": warnings or None})
