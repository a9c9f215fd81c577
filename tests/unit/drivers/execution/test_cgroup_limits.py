"""Which files say what limits, on both versions."""

from __future__ import annotations

import pytest

from drivers.execution.cgroup_limits import Version, Write, changes, cpu_weight, io_weight
from drivers.execution.resources import DeviceRate, DeviceWeight, Limits

_MIB = 1 << 20
_NONE = Limits()


def _values(writes: list[Write]) -> list[str]:
    """What is written, in its order: "file=value", alternatives beside each other."""
    return ["|".join(f"{file}={value}" for file, value in w.files) for w in writes]


@pytest.mark.parametrize(
    ("limits", "v1", "v2"),
    [
        (Limits(), [], []),
        (
            Limits(memory_bytes=64 * _MIB),
            ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=134217728"],
            ["memory.max=67108864", "memory.swap.max=67108864"],
        ),
        (
            Limits(memory_bytes=64 * _MIB, memory_swap_bytes=64 * _MIB),
            ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=67108864"],
            ["memory.max=67108864", "memory.swap.max=0"],
        ),
        (
            Limits(memory_bytes=64 * _MIB, memory_swap_bytes=-1),
            ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=-1"],
            ["memory.max=67108864", "memory.swap.max=max"],
        ),
        (
            Limits(memory_reservation_bytes=_MIB),
            ["memory.soft_limit_in_bytes=1048576"],
            ["memory.low=1048576"],
        ),
        (
            Limits(nano_cpus=1_500_000_000),
            ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000"],
            ["cpu.max=150000 100000"],
        ),
        (
            Limits(cpu_period_usec=50_000, cpu_quota_usec=25_000),
            ["cpu.cfs_period_us=50000", "cpu.cfs_quota_us=25000"],
            ["cpu.max=25000 50000"],
        ),
        (Limits(cpu_shares=512), ["cpu.shares=512"], ["cpu.weight=59"]),
        (
            Limits(cpuset_cpus="0-1", cpuset_mems="0"),
            ["cpuset.cpus=0-1", "cpuset.mems=0"],
            ["cpuset.cpus=0-1", "cpuset.mems=0"],
        ),
        (Limits(pids=7), ["pids.max=7"], ["pids.max=7"]),
        (
            Limits(blkio_weight=500),
            ["blkio.bfq.weight=500|blkio.weight=500"],
            ["io.bfq.weight=500|io.weight=4950"],
        ),
        (
            Limits(blkio_weight_device=(DeviceWeight(major=8, minor=0, weight=200),)),
            ["blkio.bfq.weight_device=8:0 200|blkio.weight_device=8:0 200"],
            ["io.bfq.weight=8:0 200|io.weight=8:0 1920"],
        ),
        (
            Limits(
                device_read_bps=(DeviceRate(major=8, minor=0, rate=1000),),
                device_write_iops=(DeviceRate(major=8, minor=16, rate=5),),
            ),
            [
                "blkio.throttle.read_bps_device=8:0 1000",
                "blkio.throttle.write_iops_device=8:16 5",
            ],
            ["io.max=8:0 rbps=1000", "io.max=8:16 wiops=5"],
        ),
        (Limits(oom_kill_disable=True), ["memory.oom_control=1"], [""]),  # v2 has no such limit
        (Limits(memory_swappiness=0), ["memory.swappiness=0"], [""]),
    ],
)
def test_each_limit_is_written_where_the_kernel_reads_it(
    limits: Limits, v1: list[str], v2: list[str]
) -> None:
    assert _values(changes(1, _NONE, limits)) == v1
    assert _values(changes(2, _NONE, limits)) == v2


@pytest.mark.parametrize("version", [1, 2])
def test_what_stays_as_it_was_is_not_written(version: Version) -> None:
    before = Limits(memory_bytes=_MIB, pids=7, cpu_shares=10)
    after = Limits(memory_bytes=_MIB, pids=8, cpu_shares=10)
    assert _values(changes(version, before, after)) == ["pids.max=8"]


def test_a_limit_taken_away_is_as_if_it_had_never_been() -> None:
    device = DeviceRate(major=8, minor=0, rate=1)
    before = Limits(
        memory_bytes=_MIB,
        nano_cpus=1,
        cpu_shares=2,
        cpuset_cpus="0",
        pids=1,
        blkio_weight=10,
        blkio_weight_device=(DeviceWeight(major=8, minor=0, weight=10),),
        device_read_bps=(device,),
    )
    assert _values(changes(2, before, _NONE)) == [
        "memory.max=max",
        "memory.swap.max=max",
        "cpu.max=max 100000",
        "cpu.weight=100",
        "cpuset.cpus=\n",
        "pids.max=max",
        "io.bfq.weight=100|io.weight=100",
        "io.bfq.weight=8:0 default|io.weight=8:0 default",
        "io.max=8:0 rbps=max",
    ]
    assert _values(changes(1, before, _NONE)) == [
        "memory.memsw.limit_in_bytes=-1",
        "memory.limit_in_bytes=-1",
        "cpu.cfs_period_us=100000",
        "cpu.cfs_quota_us=-1",
        "cpu.shares=1024",
        "cpuset.cpus=None",  # as the group above has it
        "pids.max=max",
        "blkio.bfq.weight=100|blkio.weight=100",
        "blkio.bfq.weight_device=8:0 0|blkio.weight_device=8:0 0",
        "blkio.throttle.read_bps_device=8:0 0",
    ]


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        (_NONE, Limits(memory_bytes=10), "memory.limit_in_bytes"),
        (Limits(memory_bytes=10), Limits(memory_bytes=40), "memory.memsw.limit_in_bytes"),
        (Limits(memory_bytes=40), Limits(memory_bytes=10), "memory.limit_in_bytes"),
        (Limits(memory_bytes=40), _NONE, "memory.memsw.limit_in_bytes"),
        (
            Limits(memory_bytes=40, memory_swap_bytes=40),
            Limits(memory_bytes=40, memory_swap_bytes=-1),
            "memory.memsw.limit_in_bytes",
        ),
    ],
)
def test_v1_never_has_memory_above_memory_and_swap(
    before: Limits, after: Limits, first: str
) -> None:
    assert changes(1, before, after)[0].files[0][0] == first


def test_swap_that_nobody_asked_for_may_be_missing() -> None:
    implied = changes(1, _NONE, Limits(memory_bytes=_MIB))
    asked = changes(1, _NONE, Limits(memory_bytes=_MIB, memory_swap_bytes=_MIB))
    assert [w.optional for w in implied] == [False, True]
    assert [w.optional for w in asked] == [False, False]


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 100), (262_144, 10_000), (1, 1), (300_000, 10_000)]
)
def test_the_ends_and_the_usual_of_cpu_shares_meet_those_of_weights(
    shares: int, weight: int
) -> None:
    assert cpu_weight(shares) == weight


def test_weights_grow_with_shares() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 5000)]
    assert weights == sorted(weights)
    assert (io_weight(10), io_weight(1000)) == (1, 10_000)
