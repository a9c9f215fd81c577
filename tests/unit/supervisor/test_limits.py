"""Limits: those that make sense, those that this host has, and what unit files say."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import ConfigError, Conflict, InvalidRequest
from drivers.execution.resources import DeviceRate, DeviceWeight, Limits
from supervisor.limits import (
    HostProcessors,
    check_on_host,
    check_values,
    host_processors,
    to_driver,
    updated,
)
from supervisor.spec import BlockRate, BlockWeight, ResourceLimits
from supervisor.units import parse_units

_HOST = HostProcessors(cpus="0-1", mems="0")
_MIB = 1 << 20


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"memory_bytes": 1000}, "memory", "Minimum memory limit allowed is 6MB"),
        ({"memory_bytes": -1}, "memory", "Minimum memory limit allowed is 6MB"),
        ({"memory_swap_bytes": 10 * _MIB}, "memory_swap", "You should always set the Memory limit"),
        (
            {"memory_bytes": 10 * _MIB, "memory_swap_bytes": 9 * _MIB},
            "memory_swap",
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        ({"memory_reservation_bytes": 1}, "memory_reservation", "Minimum memory reservation"),
        (
            {"memory_bytes": 10 * _MIB, "memory_reservation_bytes": 11 * _MIB},
            "memory_reservation",
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        ({"memory_swappiness": 101}, "memory_swappiness", "valid memory swappiness range is 0-100"),
        ({"nano_cpus": 1, "cpu_period_usec": 5000}, "cpus", "Nano CPUs and CPU Period cannot both"),
        ({"nano_cpus": 1, "cpu_quota_usec": 5000}, "cpus", "Nano CPUs and CPU Quota cannot both"),
        ({"cpu_period_usec": 5}, "cpu_period", "CPU cfs period can not be less than 1ms"),
        ({"cpu_quota_usec": 5}, "cpu_quota", "CPU cfs quota can not be less than 1ms"),
        ({"cpu_shares": 1}, "cpu_shares", "the range is from 2 to 262144"),
        ({"cpu_shares": -1}, "cpu_shares", r"invalid CPU shares \(-1\)"),
        ({"blkio_weight": 5}, "blkio_weight", "Range of blkio weight is from 10 to 1000"),
        (
            {"blkio_weight_device": (BlockWeight(path="/dev/vda", weight=1001),)},
            "blkio_weight_device",
            "Range of blkio weight is from 10 to 1000",
        ),
        (
            {"device_read_bps": (BlockRate(path="/dev/vda", rate=-1),)},
            "device_read_bps",
            "invalid rate -1 for device /dev/vda",
        ),
        ({"cpuset_cpus": "x"}, "cpuset_cpus", "Invalid value x for cpuset cpus: invalid format: x"),
        ({"cpuset_cpus": "0-"}, "cpuset_cpus", "invalid format: 0-"),
        ({"cpuset_cpus": "2-1"}, "cpuset_cpus", "invalid format: 2-1"),
        ({"cpuset_mems": "0,,1"}, "cpuset_mems", "Invalid value 0,,1 for cpuset mems"),
    ],
)
def test_nonsense_is_refused_in_dockers_words(
    fields: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        check_values(ResourceLimits(**fields))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"cpuset_cpus": "0,9"},
            "Requested CPUs are not available - requested 0,9, available: 0-1",
        ),
        (
            {"cpuset_mems": "3"},
            "Requested memory nodes are not available - requested 3, available: 0",
        ),
        ({"nano_cpus": 99 * 10**9}, r"Range of CPUs is from 0\.01 to 2\.00, as there are only 2"),
        ({"nano_cpus": -1}, r"Range of CPUs is from 0\.01 to 2\.00, as there are only 2"),
        (
            {"device_read_bps": (BlockRate(path="/dev/nope", rate=1),)},
            "invalid block device '/dev/nope': no such file or directory",
        ),
        (
            {"blkio_weight_device": (BlockWeight(path="/dev/null", weight=10),)},
            "invalid block device '/dev/null': not a block device",
        ),
        ({"device_write_bps": (BlockRate(path="a\0b", rate=1),)}, "not a path"),
    ],
)
def test_what_this_host_does_not_have_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        check_on_host(ResourceLimits(**fields), _HOST)


def test_what_makes_sense_is_allowed() -> None:
    limits = ResourceLimits(
        memory_bytes=6 * _MIB,
        memory_swap_bytes=-1,
        cpu_quota_usec=-1,
        cpu_period_usec=50_000,
        cpuset_cpus="0,1-1",
        cpuset_mems="0",
        cpu_shares=2,
        blkio_weight=10,
        memory_swappiness=0,
    )
    check_values(limits)
    check_on_host(limits, _HOST)
    check_on_host(ResourceLimits(nano_cpus=2 * 10**9), _HOST)


def test_this_host_has_the_processors_that_this_process_may_use() -> None:
    host = host_processors()
    for cpu in os.sched_getaffinity(0):
        check_on_host(ResourceLimits(cpuset_cpus=str(cpu)), host)


def test_devices_are_told_to_the_driver_by_number(tmp_path: Path) -> None:
    path = str(tmp_path / "disk")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 200))
    limits = ResourceLimits(
        pids=3,
        device_write_iops=(BlockRate(path=path, rate=5),),
        blkio_weight_device=(BlockWeight(path=path, weight=10),),
    )
    assert to_driver(limits) == Limits(
        pids=3,
        device_write_iops=(DeviceRate(major=7, minor=200, rate=5),),
        blkio_weight_device=(DeviceWeight(major=7, minor=200, weight=10),),
    )


def test_two_ways_of_limiting_the_processor_do_not_go_together() -> None:
    with pytest.raises(Conflict, match="CPU Period cannot be updated as NanoCPUs has already"):
        updated(ResourceLimits(nano_cpus=1), {"cpu_period_usec": 5000})
    with pytest.raises(Conflict, match="NanoCPUs cannot be updated as CPU Quota has already"):
        updated(ResourceLimits(cpu_quota_usec=5000), {"nano_cpus": 10**9})
    assert updated(ResourceLimits(pids=3), {"pids": None}) == ResourceLimits()


def _limits(text: str) -> ResourceLimits:
    [unit] = parse_units(f'[container.aa]\nimage = "a"\n[container.aa.limits]\n{text}', "u.toml")
    return unit.specs[0].limits


def test_a_unit_has_every_limit() -> None:
    text = """
memory = "64MiB"
memory_swap = -1
memory_reservation = "32m"
memory_swappiness = 0
cpu_period_usec = 50000
cpu_quota_usec = 25000
cpu_shares = 512
cpuset_cpus = "0-1"
cpuset_mems = "0"
pids = 5
oom_kill_disable = true
blkio_weight = 500
blkio_weight_device = { "/dev/vda" = 100 }
device_read_bps = { "/dev/vda" = "1MiB" }
device_write_bps = { "/dev/vda" = 1000 }
device_read_iops = { "/dev/vda" = 10 }
device_write_iops = { "/dev/vda" = 20, "/dev/vdb" = 30 }
"""
    disk = "/dev/vda"
    assert _limits(text) == ResourceLimits(
        memory_bytes=64 * _MIB,
        memory_swap_bytes=-1,
        memory_reservation_bytes=32 * _MIB,
        memory_swappiness=0,
        cpu_period_usec=50_000,
        cpu_quota_usec=25_000,
        cpu_shares=512,
        cpuset_cpus="0-1",
        cpuset_mems="0",
        pids=5,
        oom_kill_disable=True,
        blkio_weight=500,
        blkio_weight_device=(BlockWeight(path=disk, weight=100),),
        device_read_bps=(BlockRate(path=disk, rate=_MIB),),
        device_write_bps=(BlockRate(path=disk, rate=1000),),
        device_read_iops=(BlockRate(path=disk, rate=10),),
        device_write_iops=(BlockRate(path=disk, rate=20), BlockRate(path="/dev/vdb", rate=30)),
    )
    assert _limits("cpus = 1.5") == ResourceLimits(nano_cpus=1_500_000_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory = 1", "u.toml:4: container.aa.limits.memory: Minimum memory limit allowed is 6MB"),
        ("cpus = -1", "u.toml:4: container.aa.limits.cpus: cannot be negative"),
        ('cpuset_cpus = "x"', "u.toml:4: container.aa.limits.cpuset_cpus: Invalid value x"),
        ("cpu_quota_usec = 1", "u.toml:4: container.aa.limits.cpu_quota_usec: CPU cfs quota"),
        ('memory_reservation = "1 lot"', "limits.memory_reservation: '1 lot' is not a size like"),
        ('device_read_bps = { "/dev/vda" = "x" }', "limits.device_read_bps: 'x' is not a size"),
        ("cpu_share = 1", 'did you mean "cpu_shares"'),
    ],
)
def test_a_wrong_limit_of_a_unit_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _limits(text)
    assert said in str(caught.value)
