"""From the options that limit a container to the fields of HostConfig."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from supervisor.cli.parsers.limits import RATES
from supervisor.cli.values import UsageError, nano_cpus, size


def limits_of(args: Namespace) -> dict[str, Any]:
    """The fields. Raises UsageError naming the option."""
    return {
        "Memory": size("--memory", args.memory),
        "MemorySwap": size("--memory-swap", args.memory_swap),
        "MemoryReservation": size("--memory-reservation", args.memory_reservation),
        "MemorySwappiness": args.memory_swappiness,
        "OomKillDisable": args.oom_kill_disable,
        "NanoCpus": nano_cpus(args.cpus),
        "CpuPeriod": args.cpu_period,
        "CpuQuota": args.cpu_quota,
        "CpuShares": args.cpu_shares,
        "CpusetCpus": args.cpuset_cpus,
        "CpusetMems": args.cpuset_mems,
        "PidsLimit": args.pids_limit,
        "BlkioWeight": args.blkio_weight,
        "BlkioWeightDevice": [
            {"Path": path, "Weight": number}
            for path, number in _devices("--blkio-weight-device", args.blkio_weight_device)
        ],
        **{field: _rates(option, args) for option, field in RATES},
    }


def _rates(option: str, args: Namespace) -> list[dict[str, Any]]:
    items = getattr(args, option.removeprefix("--").replace("-", "_"))
    return [{"Path": path, "Rate": number} for path, number in _devices(option, items)]


def _devices(option: str, items: list[str]) -> list[tuple[str, int]]:
    """DEVICE:NUMBER items; a number may have a unit."""
    found = []
    for item in items:
        path, colon, number = item.rpartition(":")
        if not colon or not path or not number:
            raise UsageError(f"{option} {item}: not DEVICE:N")
        found.append((path, size(option, number)))
    return found
