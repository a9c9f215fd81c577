"""What a container has used and holds, from the files of its control group.

Sources: cgroup-v1/{memory,cpuacct,blkio-controller,pids}.rst, scheduler/sched-bwc.rst,
cgroup-v2.rst.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from drivers.execution.cgroup_files import fields, number
from drivers.execution.resources import BlockUsage, CpuUsage, MemoryUsage, Usage

# Reads a file of a controller: its text, or "" if it is not there.
ReadFile = Callable[[str, str], str]

_TICK_USEC = 1_000_000 // os.sysconf("SC_CLK_TCK")


def host_memory_bytes() -> int:
    """The memory of this host."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def usage_v2(read: ReadFile, host_bytes: int) -> Usage:
    """The usage of a v2 group; all but its network."""
    cpu = fields(read("cpu", "cpu.stat"))
    return Usage(
        cpu=CpuUsage(
            total_usec=cpu.get("usage_usec", 0),
            user_usec=cpu.get("user_usec", 0),
            system_usec=cpu.get("system_usec", 0),
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            throttled_usec=cpu.get("throttled_usec", 0),
        ),
        memory=MemoryUsage(
            usage_bytes=number(read("memory", "memory.current")) or 0,
            max_usage_bytes=number(read("memory", "memory.peak")) or 0,  # Linux 5.19
            limit_bytes=min(number(read("memory", "memory.max")) or host_bytes, host_bytes),
            stat=fields(read("memory", "memory.stat")),
            oom_kills=fields(read("memory", "memory.events")).get("oom_kill", 0),
        ),
        pids=number(read("pids", "pids.current")) or 0,
        pids_limit=number(read("pids", "pids.max")),
        blocks=_blocks_v2(read("io", "io.stat")),
    )


def _blocks_v2(text: str) -> tuple[BlockUsage, ...]:
    """Lines like "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0"."""
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        counts = {name: int(count) for name, _, count in (pair.partition("=") for pair in pairs)}
        major, _, minor = device.partition(":")
        if counts:
            found.append(
                BlockUsage(
                    major=int(major),
                    minor=int(minor),
                    read_bytes=counts.get("rbytes", 0),
                    write_bytes=counts.get("wbytes", 0),
                    read_operations=counts.get("rios", 0),
                    write_operations=counts.get("wios", 0),
                )
            )
    return tuple(found)


def usage_v1(read: ReadFile, host_bytes: int) -> Usage:
    """The usage of the groups of a container on v1; all but its network and its process count."""
    stat = fields(read("memory", "memory.stat"))
    return Usage(
        cpu=_cpu_v1(read),
        memory=MemoryUsage(
            usage_bytes=number(read("memory", "memory.usage_in_bytes")) or 0,
            max_usage_bytes=number(read("memory", "memory.max_usage_in_bytes")) or 0,
            limit_bytes=min(stat.get("hierarchical_memory_limit", host_bytes), host_bytes),
            stat=stat,
            oom_kills=fields(read("memory", "memory.oom_control")).get("oom_kill", 0),
        ),
        pids=number(read("pids", "pids.current")) or 0,
        pids_limit=number(read("pids", "pids.max")),
        blocks=_blocks_v1(
            read("blkio", "blkio.throttle.io_service_bytes_recursive"),
            read("blkio", "blkio.throttle.io_serviced_recursive"),
        ),
    )


def _cpu_v1(read: ReadFile) -> CpuUsage:
    ticks = fields(read("cpuacct", "cpuacct.stat"))
    limited = fields(read("cpu", "cpu.stat"))
    return CpuUsage(
        total_usec=(number(read("cpuacct", "cpuacct.usage")) or 0) // 1000,
        user_usec=ticks.get("user", 0) * _TICK_USEC,
        system_usec=ticks.get("system", 0) * _TICK_USEC,
        per_cpu_usec=tuple(int(n) // 1000 for n in read("cpuacct", "cpuacct.usage_percpu").split()),
        periods=limited.get("nr_periods", 0),
        throttled_periods=limited.get("nr_throttled", 0),
        throttled_usec=limited.get("throttled_time", 0) // 1000,
    )


def _blocks_v1(bytes_text: str, operations_text: str) -> tuple[BlockUsage, ...]:
    """Two files of lines like "8:0 Read 4096"; of each device one for every kind of access."""
    sizes = _by_device(bytes_text.splitlines())
    counts = _by_device(operations_text.splitlines())
    found = []
    for device in sorted(sizes.keys() | counts.keys()):
        size, count = sizes.get(device, {}), counts.get(device, {})
        found.append(
            BlockUsage(
                major=device[0],
                minor=device[1],
                read_bytes=size.get("Read", 0),
                write_bytes=size.get("Write", 0),
                read_operations=count.get("Read", 0),
                write_operations=count.get("Write", 0),
            )
        )
    return tuple(found)


def _by_device(lines: Iterable[str]) -> dict[tuple[int, int], dict[str, int]]:
    found: dict[tuple[int, int], dict[str, int]] = {}
    for line in lines:
        parts = line.split()
        if len(parts) == 3:  # but for the total of all devices
            major, _, minor = parts[0].partition(":")
            found.setdefault((int(major), int(minor)), {})[parts[1]] = int(parts[2])
    return found
