"""GET /containers/{id}/stats: what a container uses, once or every second."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import trio

from drivers.errors import NotFound, NotRunning
from drivers.execution.resources import BlockUsage, CpuUsage, MemoryUsage, NetworkUsage, Usage
from supervisor.container import Container
from supervisor.control.context import Control
from supervisor.control.docker.values import answer, rfc3339
from supervisor.control.http import Answer, Request, Stream

_INTERVAL_S = 1.0
_COUNTED = slice(1, 8)  # of /proc/stat's first line: user to softirq, as Docker adds them up
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_BLOCK_LISTS = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading; a container that is down has no usage."""

    usage: Usage | None = None
    read_ns: int = 0
    system_ns: int = 0  # processor time of the whole host since it was booted
    cpus: int = 0


async def stats(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/stats"""
    container = control.manager.find(request.parameters["id"])
    if request.flag("stream", default=True):
        return Stream(body=_stream(control, container))
    before, now = Sample(), await _read(control, container)
    if now.usage is not None and not request.flag("one-shot"):
        await trio.sleep(_INTERVAL_S)
        before, now = now, await _read(control, container)
    return answer(shown(container, before, now, control.cgroup_version))


async def _stream(control: Control, container: Container) -> AsyncIterator[bytes]:
    """A line each second, until the container is removed."""
    before = Sample()
    while not container.removed:
        now = await _read(control, container)
        line = shown(container, before, now, control.cgroup_version)
        yield msgspec.json.encode(line) + b"\n"
        before = now
        await trio.sleep(_INTERVAL_S)


async def _read(control: Control, container: Container) -> Sample:
    try:
        usage = await control.manager.stats(container.id)
    except (NotRunning, NotFound):
        return Sample()
    return _sample(usage)


def _sample(usage: Usage) -> Sample:
    return Sample(
        usage=usage,
        read_ns=time.time_ns(),
        system_ns=system_cpu_ns(Path("/proc/stat").read_text()),
        cpus=os.cpu_count() or 1,
    )


def system_cpu_ns(text: str) -> int:
    """The processor time in a text like /proc/stat. Source: proc_stat(5)."""
    return sum(int(ticks) for ticks in text.partition("\n")[0].split()[_COUNTED]) * _TICK_NS


def shown(container: Container, before: Sample, now: Sample, cgroup_version: int) -> dict[str, Any]:
    """Two readings as the Engine API has them. Source: the API reference, ContainerStats."""
    usage = now.usage or Usage()
    up = now.usage is not None
    line: dict[str, Any] = {
        "name": f"/{container.name}",
        "id": container.id,
        "read": rfc3339(now.read_ns),
        "preread": rfc3339(before.read_ns),
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": _pids(usage) if up else {},
        "blkio_stats": _blocks(usage.blocks, up, cgroup_version),
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(usage.memory, cgroup_version) if up else {},
    }
    if usage.networks:
        line["networks"] = {network.name: _network(network) for network in usage.networks}
    return line


def _pids(usage: Usage) -> dict[str, int]:
    limit = {} if usage.pids_limit is None else {"limit": usage.pids_limit}
    return {"current": usage.pids, **limit}


def _cpu(sample: Sample) -> dict[str, Any]:
    cpu = sample.usage.cpu if sample.usage else CpuUsage()
    used: dict[str, Any] = {
        "total_usage": cpu.total_usec * 1000,
        "usage_in_kernelmode": cpu.system_usec * 1000,
        "usage_in_usermode": cpu.user_usec * 1000,
    }
    if cpu.per_cpu_usec:
        used["percpu_usage"] = [usec * 1000 for usec in cpu.per_cpu_usec]
    throttling = {
        "periods": cpu.periods,
        "throttled_periods": cpu.throttled_periods,
        "throttled_time": cpu.throttled_usec * 1000,
    }
    line: dict[str, Any] = {"cpu_usage": used, "throttling_data": throttling}
    if sample.usage:
        line |= {"system_cpu_usage": sample.system_ns, "online_cpus": sample.cpus}
    return line


def _memory(memory: MemoryUsage, cgroup_version: int) -> dict[str, Any]:
    line: dict[str, Any] = {
        "usage": memory.usage_bytes,
        "stats": memory.stat,
        "limit": memory.limit_bytes,
    }
    if cgroup_version == 1:
        line["max_usage"] = memory.max_usage_bytes
    return line


def _blocks(blocks: tuple[BlockUsage, ...], up: bool, cgroup_version: int) -> dict[str, Any]:
    """v1 has empty lists for what it does not tell, v2 none, and other names of operations."""
    empty: list[object] | None = [] if up and cgroup_version == 1 else None
    lists: dict[str, Any] = dict.fromkeys(_BLOCK_LISTS, empty)
    read, write = ("read", "write") if cgroup_version == 2 else ("Read", "Write")
    if up:
        lists["io_service_bytes_recursive"] = [
            {"major": b.major, "minor": b.minor, "op": op, "value": value}
            for b in blocks
            for op, value in ((read, b.read_bytes), (write, b.write_bytes))
        ]
    if up and cgroup_version == 1:
        lists["io_serviced_recursive"] = [
            {"major": b.major, "minor": b.minor, "op": op, "value": value}
            for b in blocks
            for op, value in ((read, b.read_operations), (write, b.write_operations))
        ]
    return lists


def _network(network: NetworkUsage) -> dict[str, int]:
    return {
        "rx_bytes": network.rx_bytes,
        "rx_packets": network.rx_packets,
        "rx_errors": network.rx_errors,
        "rx_dropped": network.rx_dropped,
        "tx_bytes": network.tx_bytes,
        "tx_packets": network.tx_packets,
        "tx_errors": network.tx_errors,
        "tx_dropped": network.tx_dropped,
    }
