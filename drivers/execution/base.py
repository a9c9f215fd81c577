"""The contract of execution drivers: run a command as a container and look after its processes."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Protocol

import trio

# Docker's default set.
# Source: the Engine's documentation, "Runtime privilege and Linux capabilities".
DEFAULT_CAPABILITIES: frozenset[str] = frozenset(
    {
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)

# Source: OCI runtime defaults as Docker sets them; what a container must not see ...
DEFAULT_MASKED_PATHS: tuple[str, ...] = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
# ... and what it may read but not write.
DEFAULT_READONLY_PATHS: tuple[str, ...] = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountAt:
    """A detached mount and the path in the container where it is attached.

    `fd` is a mount from fsmount(2) or open_tree(2); attributes such as read-only are set on it
    already. The target is made if it is missing: a directory, or a file for a file.
    """

    fd: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the container's control group enforces; None is no limit.

    A limit that this host cannot enforce fails the start with LimitUnavailable.
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None  # memory plus swap, as Docker counts; -1 is unlimited
    nano_cpus: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rlimit:
    """A resource limit by its kernel name in lower case ("nofile"); -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One container as the kernel needs it. File descriptors stay the caller's to close."""

    key: str  # the container's id; names its control group
    root_fd: int  # the root file system: a detached mount
    argv: tuple[str, ...]
    env: tuple[str, ...]  # "NAME=value", already complete but for HOME
    cwd: str = "/"
    user: str = ""  # "", "name", "uid", "name:group", "uid:gid": looked up in the root
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[MountAt, ...] = ()  # in the order in which they are attached
    read_only: bool = False
    host_network: bool = False  # else a network namespace of its own with loopback up ...
    netns_fd: int | None = None  # ... or this one
    shm_size_bytes: int = 64 * 1024 * 1024
    capabilities: frozenset[str] = DEFAULT_CAPABILITIES
    no_new_privs: bool = False
    masked_paths: tuple[str, ...] = DEFAULT_MASKED_PATHS
    readonly_paths: tuple[str, ...] = DEFAULT_READONLY_PATHS
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """The child's ends of its three streams, and the other ends that must outlive the daemon.

    The caller closes its copies once the command has started.
    """

    stdin: int
    stdout: int
    stderr: int
    kept: tuple[int, ...] = ()  # read ends of stdout and stderr, kept open by the keeper as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What is known once the command runs. `pid` is as the host sees it."""

    pid: int
    start_time_ticks: int  # field 22 of /proc/pid/stat: with the pid and boot id an identity


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How the main process ended: an exit code, or the signal that killed it."""

    code: int  # 0..255, or 128 + signal as shells and Docker count
    signal: int | None = None
    oom_killed: bool = False
    cpu_usec: int = 0  # user plus system time of the process and its reaped children
    max_rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a driver tells of one running container."""

    pid: int
    start_time_ticks: int
    cgroup: str  # path below the control group hierarchy's mount


class ExecutionDriver(Protocol):
    """Runs commands as containers.

    A container is known by its key. From `run`'s start until its return the key is live: `kill`,
    `terminate`, `pids` and `info` work; before and after they raise NotRunning.
    """

    name: str

    async def run(
        self,
        command: Command,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        """Run `command` to its end; `task_status.started` is called when it has been executed.

        On return, normal or cancelled, the process has been reaped, every other process of the
        container is dead, and the control group is gone. A failing step before the command runs
        raises SpawnFailed with its name (CommandNotFound and CommandNotExecutable for the
        command itself), InvalidRequest for an unknown user or group, LimitUnavailable for a
        limit that cannot be set, AlreadyExists if the key is live.
        """
        ...

    async def kill(self, key: str, signum: signal.Signals | int) -> None:
        """Send a signal to the main process."""
        ...

    async def terminate(self, key: str) -> None:
        """Kill every process of the container; returns when the kernel has been told.

        `run` returns once they are gone.
        """
        ...

    async def pids(self, key: str) -> list[int]:
        """All processes of the container, as the host numbers them."""
        ...

    async def info(self, key: str) -> Info:
        """What the kernel knows of the container now."""
        ...

    async def clean(self, key: str) -> None:
        """Remove whatever an earlier life of `key` left (control groups, processes). Idempotent."""
        ...

    async def leftovers(self) -> list[str]:
        """Keys that have something on this host but are not live; for `clean` at start."""
        ...
