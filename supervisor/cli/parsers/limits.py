"""The options of `run` and `create` that limit what a container uses."""

from __future__ import annotations

from supervisor.cli.parsers.base import Parser

# An option, the field of HostConfig it sets, and of what kind its numbers are.
RATES = (
    ("--device-read-bps", "BlkioDeviceReadBps"),
    ("--device-write-bps", "BlkioDeviceWriteBps"),
    ("--device-read-iops", "BlkioDeviceReadIOps"),
    ("--device-write-iops", "BlkioDeviceWriteIOps"),
)


def add_limits(parser: Parser) -> None:
    """Add them, with Docker's names."""
    add = parser.add_argument
    add("-m", "--memory", metavar="SIZE", default="", help="512m, 2g")
    add("--memory-swap", metavar="SIZE", default="", help="memory plus swap; -1: no limit")
    add("--memory-reservation", metavar="SIZE", default="", help="kept when memory is short")
    add("--memory-swappiness", metavar="N", type=int, help="0 to 100; cgroup v1 only")
    add("--oom-kill-disable", action="store_true", help="wait for memory; cgroup v1 only")
    add("--cpus", metavar="N", default="", help="processors, as 1.5")
    add("--cpu-period", metavar="US", type=int, default=0, help="for --cpu-quota, in µs")
    add("--cpu-quota", metavar="US", type=int, default=0, help="time in each period, in µs")
    add("-c", "--cpu-shares", metavar="N", type=int, default=0, help="share; 1024 is usual")
    add("--cpuset-cpus", metavar="LIST", default="", help="only on these processors: 0-2,4")
    add("--cpuset-mems", metavar="LIST", default="", help="only on these memory nodes")
    add("--pids-limit", metavar="N", type=int, help="processes and threads")
    add("--blkio-weight", metavar="N", type=int, default=0, help="share of disks; 10 to 1000")
    for option in ("--blkio-weight-device", *(option for option, _ in RATES)):
        help_ = "of one disk, as /dev/sda:100; may be repeated"
        add(option, metavar="DEVICE:N", action="append", default=[], help=help_)
    add("--oom-score-adj", metavar="N", type=int, default=0, help="-1000 to 1000")
