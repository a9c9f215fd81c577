"""Usage from files as kernels write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from drivers.execution.cgroup_stats import ReadFile, usage_v1, usage_v2
from drivers.execution.network_usage import parse
from drivers.execution.resources import BlockUsage, CpuUsage, MemoryUsage, NetworkUsage, Usage

Read = Callable[[ReadFile, int], Usage]

_HOST = 1 << 34

_V2 = {
    "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\n"
    "throttled_usec 2\nnr_bursts 0\n",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.max": "16384\n",
    "memory.stat": "anon 100\ninactive_file 50\n",
    "memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n",
    "pids.current": "5\n",
    "pids.max": "10\n",
    "io.stat": "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:0 \n",
}
_V1 = {
    "cpuacct.usage": "30000\n",
    "cpuacct.stat": "user 2\nsystem 1\n",
    "cpuacct.usage_percpu": "10000 20000 \n",
    "cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 2000\n",
    "memory.usage_in_bytes": "4096\n",
    "memory.max_usage_in_bytes": "8192\n",
    "memory.stat": "cache 50\nhierarchical_memory_limit 16384\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "pids.current": "5\n",
    "pids.max": "max\n",
    "blkio.throttle.io_service_bytes_recursive": "8:16 Read 1\n8:16 Write 2\n8:16 Sync 3\n"
    "8:16 Total 3\nTotal 3\n",
    "blkio.throttle.io_serviced_recursive": "8:16 Read 3\n8:16 Write 4\nTotal 7\n",
}
_SAME = Usage(
    cpu=CpuUsage(total_usec=30, periods=4, throttled_periods=3, throttled_usec=2),
    memory=MemoryUsage(usage_bytes=4096, max_usage_bytes=8192, limit_bytes=16384, oom_kills=2),
    pids=5,
    blocks=(
        BlockUsage(
            major=8, minor=16, read_bytes=1, write_bytes=2, read_operations=3, write_operations=4
        ),
    ),
)
# What each version tells in its own way: of processors, of memory, of the limit of processes.
_OWN: dict[str, tuple[Read, Mapping[str, str], dict[str, Any], dict[str, int], int | None]] = {
    "v2": (
        usage_v2,
        _V2,
        {"user_usec": 20, "system_usec": 10},
        {"anon": 100, "inactive_file": 50},
        10,
    ),
    "v1": (
        usage_v1,
        _V1,
        {"user_usec": 20_000, "system_usec": 10_000, "per_cpu_usec": (10, 20)},
        {"cache": 50, "hierarchical_memory_limit": 16384},
        None,
    ),
}


def _reading(files: Mapping[str, str]) -> ReadFile:
    return lambda controller, file: files.get(file, "")


@pytest.mark.parametrize(
    ("read", "files", "cpu", "stat", "pids_limit"), _OWN.values(), ids=_OWN.keys()
)
def test_both_versions_tell_all_of_it(
    read: Read,
    files: Mapping[str, str],
    cpu: dict[str, Any],
    stat: dict[str, int],
    pids_limit: int | None,
) -> None:
    assert read(_reading(files), _HOST) == replace(
        _SAME,
        cpu=replace(_SAME.cpu, **cpu),
        memory=replace(_SAME.memory, stat=stat),
        pids_limit=pids_limit,
    )


def test_without_a_limit_the_hosts_memory_is_the_limit() -> None:
    unlimited = {"memory.stat": "hierarchical_memory_limit 9223372036854771712\n"}
    assert usage_v1(_reading(unlimited), _HOST).memory.limit_bytes == _HOST
    assert usage_v2(_reading({"memory.max": "max\n"}), _HOST).memory.limit_bytes == _HOST


def test_a_group_that_is_gone_uses_nothing() -> None:
    nothing = Usage(memory=MemoryUsage(limit_bytes=_HOST))
    assert usage_v1(_reading({}), _HOST) == usage_v2(_reading({}), _HOST) == nothing


def test_network_devices_are_told_but_for_the_loopback() -> None:
    text = (
        "Inter-|   Receive                     |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop "
        "fifo colls carrier compressed\n"
        "    lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\n"
        "  eth0:1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"
    )
    assert parse(text) == (
        NetworkUsage(
            name="eth0",
            rx_bytes=1,
            rx_packets=2,
            rx_errors=3,
            rx_dropped=4,
            tx_bytes=5,
            tx_packets=6,
            tx_errors=7,
            tx_dropped=8,
        ),
    )
    assert parse("") == ()
