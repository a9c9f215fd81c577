"""What a container may use of its host, and what it uses."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRate:
    """How fast a block device may be used: bytes or operations a second."""

    major: int
    minor: int
    rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWeight:
    """The share of a block device's time, 10 to 1000."""

    major: int
    minor: int
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the container's control group enforces; None is no limit.

    A limit that this host cannot enforce fails the start, or the update, with LimitUnavailable.
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None  # memory plus swap, as Docker counts; -1 is unlimited;
    # with only the memory limited, twice that, where swap can be limited
    memory_reservation_bytes: int | None = None  # what is kept of it when memory is short
    memory_swappiness: int | None = None  # 0 to 100; v1 only
    nano_cpus: int | None = None
    cpu_period_usec: int | None = None  # with `cpu_quota_usec`, instead of `nano_cpus`
    cpu_quota_usec: int | None = None
    cpu_shares: int | None = None  # 2 to 262144 as v1 counts; 1024 is the usual share
    cpuset_cpus: str = ""  # "0-2,4"
    cpuset_mems: str = ""
    pids: int | None = None
    oom_kill_disable: bool = False  # v1 only
    blkio_weight: int | None = None  # 10 to 1000
    blkio_weight_device: tuple[DeviceWeight, ...] = ()
    device_read_bps: tuple[DeviceRate, ...] = ()
    device_write_bps: tuple[DeviceRate, ...] = ()
    device_read_iops: tuple[DeviceRate, ...] = ()
    device_write_iops: tuple[DeviceRate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRule:
    """Which devices may be used. Source: cgroup-v1/devices.rst.

    `kind` is "a" for all, "b" or "c"; None as a number is every number; `access` has the letters
    r (read), w (write) and m (mknod).
    """

    allow: bool = True
    kind: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUsage:
    """Processor time since the start, and how often the limit held the container back."""

    total_usec: int = 0
    user_usec: int = 0
    system_usec: int = 0
    per_cpu_usec: tuple[int, ...] = ()  # v1 only
    periods: int = 0
    throttled_periods: int = 0
    throttled_usec: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUsage:
    """Memory held now. `stat` has the control group's own names."""

    usage_bytes: int = 0
    max_usage_bytes: int = 0  # 0 where the kernel does not tell
    limit_bytes: int = 0  # the host's memory if there is no limit
    stat: dict[str, int] = field(default_factory=dict)
    oom_kills: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockUsage:
    """What went to and from one block device since the start."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    read_operations: int = 0
    write_operations: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkUsage:
    """What went through one network device of the container's namespace since it was made."""

    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a container has used and holds at one moment."""

    cpu: CpuUsage = CpuUsage()
    memory: MemoryUsage = field(default_factory=MemoryUsage)
    pids: int = 0
    pids_limit: int | None = None
    blocks: tuple[BlockUsage, ...] = ()
    networks: tuple[NetworkUsage, ...] = ()
