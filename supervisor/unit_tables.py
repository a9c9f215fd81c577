"""The tables and keys of a unit file, with their types and defaults."""

from __future__ import annotations

import msgspec

from supervisor.spec import RestartName


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a unit file: unknown keys are errors."""


class LimitsTable(Table, frozen=True, kw_only=True):
    memory: int | str | None = None
    memory_swap: int | str | None = None
    memory_reservation: int | str | None = None
    memory_swappiness: int | None = None
    cpus: float | None = None
    cpu_period_usec: int | None = None
    cpu_quota_usec: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    oom_kill_disable: bool = False
    blkio_weight: int | None = None
    blkio_weight_device: dict[str, int] = {}  # by the device's path on the host
    device_read_bps: dict[str, int | str] = {}
    device_write_bps: dict[str, int | str] = {}
    device_read_iops: dict[str, int] = {}
    device_write_iops: dict[str, int] = {}


class RestartTable(Table, frozen=True, kw_only=True):
    policy: RestartName = "on-failure"
    delay_min_s: float = 0.5
    delay_max_s: float = 60.0
    factor: float = 2.0
    jitter: float = 0.1
    reset_after_s: float = 30.0
    give_up_after: int | None = 5


class StopTable(Table, frozen=True, kw_only=True):
    signal: str = ""
    grace_s: float | None = None


class ReadyTable(Table, frozen=True, kw_only=True):
    after_s: float = 1.0


class MountTable(Table, frozen=True, kw_only=True):
    target: str
    type: str = "bind"
    source: str = ""
    read_only: bool = False
    size: int | str | None = None
    mode: int | str | None = None


class UlimitTable(Table, frozen=True, kw_only=True):
    soft: int
    hard: int


class UnitTable(Table, frozen=True, kw_only=True):
    """[container.NAME]"""

    image: str = ""
    rootfs: str = ""
    command: str | list[str] | None = None
    entrypoint: str | list[str] | None = None
    env: dict[str, str | int | float | bool] | list[str] = {}
    user: str = ""
    workdir: str = ""
    hostname: str = ""
    labels: dict[str, str] = {}
    volumes: list[str] = []
    mounts: list[MountTable] = []
    tmpfs: list[str] = []
    limits: LimitsTable = LimitsTable()
    network: str = "none"
    execution: str = ""
    read_only: bool = False
    no_new_privs: bool = True
    privileged: bool = False
    cap_add: list[str] = []
    cap_drop: list[str] = []
    seccomp: str = ""
    apparmor: str = ""
    system_paths: bool = False
    devices: list[str] = []
    device_cgroup_rules: list[str] = []
    ulimits: dict[str, int | UlimitTable] = {}
    sysctls: dict[str, str | int] = {}
    init: bool = False
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroupns: str = ""
    userns: str = ""
    group_add: list[str | int] = []
    stdin: bool = False
    oom_score_adj: int | None = None
    group: str = ""
    replicas: int = 1
    requires: list[str] = []
    after: list[str] = []
    ready: ReadyTable = ReadyTable()
    restart: RestartTable = RestartTable()
    stop: StopTable = StopTable()
    autostart: bool = True
    log: list[dict[str, str | int | bool]] = []
