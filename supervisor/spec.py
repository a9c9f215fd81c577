"""What a container is asked to be: plain values, however they were asked for.

A request leaves what it does not say at None or empty; `resolve` fills that in from the image. The
words are Docker's where Docker has one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_STOP_SIGNAL = "SIGTERM"
DEFAULT_STOP_GRACE_S = 10.0
DEFAULT_SHM_SIZE_BYTES = 64 * 1024 * 1024

RestartName = Literal["no", "always", "on-failure", "unless-stopped"]


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all values here: immutable, keyword-only, strict when decoded."""


class RestartPolicy(Value, frozen=True, kw_only=True):
    """When an ended container starts again, and how long it waits before that.

    The defaults are Docker's: 0.1 s, doubled up to a minute, forgotten after 10 s of running.
    """

    name: RestartName = "no"
    delay_min_s: float = 0.1
    delay_max_s: float = 60.0
    factor: float = 2.0
    jitter: float = 0.0  # the share of the delay that is random, 0 to 1
    reset_after_s: float = 10.0  # running this long forgets earlier failures
    give_up_after: int | None = None  # failures in a row; Docker's MaximumRetryCount


class Bind(Value, frozen=True, kw_only=True, tag="bind"):
    """A directory or file of the host, seen in the container."""

    source: str
    target: str
    read_only: bool = False
    recursive: bool = True
    make_source: bool = False  # `-v` makes a missing source directory; `--mount` refuses it


class Tmpfs(Value, frozen=True, kw_only=True, tag="tmpfs"):
    """A memory file system of the container's own. Options as mount(8) has them for tmpfs."""

    target: str
    size_bytes: int | None = None
    mode: int = 0o1777
    read_only: bool = False
    exec: bool = False


class BlockRate(Value, frozen=True, kw_only=True):
    """How fast a block device of the host may be used: bytes or operations a second."""

    path: str
    rate: int


class BlockWeight(Value, frozen=True, kw_only=True):
    """The share of a block device's time, 10 to 1000."""

    path: str
    weight: int


class ResourceLimits(Value, frozen=True, kw_only=True):
    """What the control group enforces; None is no limit."""

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None  # memory plus swap; -1 is unlimited swap
    memory_reservation_bytes: int | None = None
    memory_swappiness: int | None = None  # 0 to 100; cgroup v1 only
    nano_cpus: int | None = None
    cpu_period_usec: int | None = None
    cpu_quota_usec: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    oom_kill_disable: bool = False
    blkio_weight: int | None = None
    blkio_weight_device: tuple[BlockWeight, ...] = ()
    device_read_bps: tuple[BlockRate, ...] = ()
    device_write_bps: tuple[BlockRate, ...] = ()
    device_read_iops: tuple[BlockRate, ...] = ()
    device_write_iops: tuple[BlockRate, ...] = ()


class DeviceMapping(Value, frozen=True, kw_only=True):
    """A device file, or a directory of them, of the host, in the container at `target`."""

    source: str
    target: str
    access: str = "rwm"


class Ulimit(Value, frozen=True, kw_only=True):
    """A resource limit by its kernel name in lower case ("nofile"); -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Isolation(Value, frozen=True, kw_only=True):
    """How a container is kept apart from the host, in Docker's words."""

    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privs: bool = False
    seccomp: str = ""  # "" or "builtin": the default; "unconfined"; a profile in Docker's format
    apparmor: str = ""  # the name of a loaded profile
    labels: tuple[str, ...] = ()  # of SELinux; only shown again, as Docker does where it is off
    masked_paths: tuple[str, ...] | None = None  # the default's if None; none if privileged
    readonly_paths: tuple[str, ...] | None = None
    devices: tuple[DeviceMapping, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()  # "c 42:* rmw"
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = {}
    init: bool = False
    pid_mode: str = ""  # "", "host", "container:NAME"
    ipc_mode: str = ""  # "", "private", "shareable", "host", "none", "container:NAME"
    uts_mode: str = ""  # "", "host"
    cgroupns_mode: str = ""  # "", "private", "host"
    userns_mode: str = ""  # "", "host", "auto", "keep-id", a map
    group_add: tuple[str, ...] = ()


class UserMap(Value, frozen=True, kw_only=True):
    """The ids of a user namespace: first in the container, first on the host, how many."""

    uids: tuple[tuple[int, int, int], ...]
    gids: tuple[tuple[int, int, int], ...]


class LogConfig(Value, frozen=True, kw_only=True):
    """One log sink: a driver and its options, both by the driver's own names."""

    driver: str
    options: dict[str, str] = {}


class UnitInfo(Value, frozen=True, kw_only=True):
    """What only a container from a unit file has."""

    unit: str  # the table's name: [container.UNIT]
    group: str
    file: str
    digest: str  # of the definition: a different one means the unit was changed
    autostart: bool = True
    requires: tuple[str, ...] = ()  # units that must be ready before and stop after
    after: tuple[str, ...] = ()  # units that are only started earlier, if they are started
    ready_after_s: float = 1.0


class ContainerSpec(Value, frozen=True, kw_only=True):
    """One container, as asked for; `resolve` makes it complete."""

    id: str = ""  # 64 hex digits
    name: str = ""
    created_ns: int = 0
    image: str = ""  # the reference as it was given
    image_id: str = ""
    rootfs: str = ""  # a directory of the host instead of an image
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    hostname: str = ""
    domainname: str = ""
    labels: dict[str, str] = {}
    attach_stdout: bool = False  # what `docker run` asked for; only shown again
    attach_stderr: bool = False
    tty: bool = False
    console_size: tuple[int, int] = (0, 0)  # rows and columns of the terminal at first
    open_stdin: bool = False
    stdin_once: bool = False
    mounts: tuple[Bind | Tmpfs, ...] = ()
    shm_size_bytes: int = DEFAULT_SHM_SIZE_BYTES
    limits: ResourceLimits = ResourceLimits()
    network: str = "none"  # a network driver's name
    read_only: bool = False
    isolation: Isolation = Isolation()
    user_map: UserMap | None = None  # what `userns_mode` has become, for good
    oom_score_adj: int | None = None
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    stop_signal: str = ""
    stop_grace_s: float | None = None
    restart: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    log: tuple[LogConfig, ...] = ()  # the daemon's default if empty
    execution: str = ""  # driver names; the daemon's default if empty
    storage: str = ""
    unit: UnitInfo | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """What is executed: the entrypoint, then the command."""
        return (self.entrypoint or ()) + (self.cmd or ())

    @property
    def short_id(self) -> str:
        """The first twelve digits, as Docker shows ids."""
        return self.id[:12]

    @property
    def group(self) -> str:
        """supervisor's group: the unit's, or the container's own name."""
        return self.unit.group if self.unit else self.name


class ImageDefaults(Value, frozen=True, kw_only=True):
    """The part of an image's configuration that a container inherits."""

    id: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""


def resolve(asked: ContainerSpec, image: ImageDefaults) -> ContainerSpec:
    """`asked` with what it leaves open taken from the image, by Docker's rules.

    A given entrypoint drops the image's command; variables and labels of the request win.
    """
    entrypoint, cmd = asked.entrypoint, asked.cmd
    if entrypoint is None:
        entrypoint = image.entrypoint
        cmd = image.cmd if cmd is None else cmd
    return msgspec.structs.replace(
        asked,
        image_id=image.id,
        entrypoint=entrypoint or None,
        cmd=cmd,
        env=merge_env(image.env, asked.env),
        user=asked.user or image.user,
        workdir=asked.workdir or image.workdir,
        labels={**image.labels, **asked.labels},
        stop_signal=asked.stop_signal or image.stop_signal or DEFAULT_STOP_SIGNAL,
        stop_grace_s=DEFAULT_STOP_GRACE_S if asked.stop_grace_s is None else asked.stop_grace_s,
        hostname=asked.hostname or asked.short_id,
    )


def merge_env(base: tuple[str, ...], over: tuple[str, ...]) -> tuple[str, ...]:
    """Variables of both, `over` winning; a bare NAME in `over` removes it, as `docker run -e NAME`.

    A PATH is always there.
    """
    merged: dict[str, str] = {}
    for item in (DEFAULT_PATH, *base, *over):
        name, equals, _ = item.partition("=")
        if equals:
            merged[name] = item
        else:
            merged.pop(name, None)
    return tuple(merged.values())
