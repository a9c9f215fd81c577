"""The contract of execution drivers: run a command as a container and look after its processes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import trio

from drivers.execution.defaults import (
    DEFAULT_CAPABILITIES,
    DEFAULT_MASKED_PATHS,
    DEFAULT_READONLY_PATHS,
)
from drivers.execution.resources import DeviceRule, Limits, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class MountAt:
    """A detached mount and the path in the container where it is attached.

    `fd` is a mount from fsmount(2) or open_tree(2); attributes such as read-only are set on it
    already. The target is made if it is missing: a directory, or a file for a file.
    """

    fd: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rlimit:
    """A resource limit by its kernel name in lower case ("nofile"); -1 is unlimited."""

    name: str
    soft: int
    hard: int


# Of its own, the host's, or a descriptor to join: of a namespace, or a pidfd of who is in it.
Namespace = Literal["new", "host"] | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Where a container is isolated. The mount namespace is always its own."""

    pid: Namespace = "new"
    ipc: Namespace = "new"
    uts: Namespace = "new"
    cgroup: Namespace = "new"
    network: Namespace = "new"  # a new one has its loopback up
    user: Namespace = "new"  # if the command has an `id_map`; to be joined with the pid namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRange:
    """A line of /proc/PID/uid_map. Source: user_namespaces(7)."""

    container_id: int
    host_id: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """The ids of a user namespace."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device file of the container: made by its numbers, never looked up by name.

    But for a driver that can make none, which lends the host's: `source`.
    """

    path: str
    kind: str  # "c" or "b"
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSize:
    """Of a terminal, in characters; 0 by 0 is not known."""

    rows: int = 0
    columns: int = 0


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
    namespaces: Namespaces = Namespaces()
    id_map: IdMap | None = None  # a user namespace of its own with these ids
    terminal: WindowSize | None = None  # the three streams are a terminal of the container's
    shm_size_bytes: int = 64 * 1024 * 1024
    capabilities: frozenset[str] = DEFAULT_CAPABILITIES
    no_new_privs: bool = False
    seccomp: str = "default"  # "default", "unconfined", or a profile in Docker's JSON format
    apparmor: str = ""  # the name of a loaded profile
    sysctls: tuple[tuple[str, str], ...] = ()  # ("net.ipv4.ip_forward", "1")
    devices: tuple[Device, ...] = ()  # besides those that every container has
    device_rules: tuple[DeviceRule, ...] = ()  # besides the default's, in order
    writable_sys: bool = False  # /sys and its control groups, as `--privileged` has it
    masked_paths: tuple[str, ...] = DEFAULT_MASKED_PATHS
    readonly_paths: tuple[str, ...] = DEFAULT_READONLY_PATHS
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None
    limits: Limits = field(default_factory=Limits)


Describe = Callable[[], Command]  # blocks: it opens what the command names


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """The child's ends of its three streams, and the other ends that must outlive the daemon.

    The caller closes its copies once the command has started. A command with a terminal uses none
    of the three.
    """

    stdin: int
    stdout: int
    stderr: int
    kept: tuple[int, ...] = ()  # read ends of stdout and stderr, kept open by the keeper as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One more process for a running container; what it does not say is as in the container."""

    key: str  # the container's
    argv: tuple[str, ...]
    env: tuple[str, ...]  # "NAME=value", already complete but for HOME
    cwd: str = "/"
    user: str = ""  # as in `Command`
    group_add: tuple[str, ...] = ()
    terminal: WindowSize | None = None
    privileged: bool = False  # every capability
    no_new_privs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What is known once the command runs. `pid` is as the host sees it."""

    pid: int
    start_time_ticks: int  # field 22 of /proc/pid/stat: with the pid and boot id an identity
    terminal_fd: int | None = (
        None  # our end of the terminal, if it has one: the receiver's to close
    )


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
        key: str,
        describe: Describe,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        """Run a command to its end; `task_status.started` is called when it has been executed.

        `describe` tells which, with the same key. It is called once, in a thread, where the driver
        does what else it may have to wait for. What it raises is raised.

        On return, normal or cancelled, the process has been reaped, every other process of the
        container is dead, and the control group is gone. A failing step before the command runs
        raises SpawnFailed with its name (CommandNotFound and CommandNotExecutable for the
        command itself), InvalidRequest for an unknown user or group, LimitUnavailable for a
        limit that cannot be set, AlreadyExists if the key is live.
        """
        ...

    async def exec(
        self,
        process: Process,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        """Run one more process in a live container to its end; else as `run`.

        It ends with its container at the latest; cancelled, it alone is killed. Raises NotRunning
        if the container has ended, Conflict if it is paused, else as `run`.
        """
        ...

    async def kill(self, key: str, signum: signal.Signals | int) -> None:
        """Send a signal to the main process."""
        ...

    async def pause(self, key: str) -> None:
        """Stop every process where it is; returns when all have stopped.

        Idempotent. `kill` reaches a paused process when it goes on; `terminate` ends it at once.
        """
        ...

    async def unpause(self, key: str) -> None:
        """Let every process go on. Idempotent."""
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

    async def stats(self, key: str) -> Usage:
        """What the container has used and holds now."""
        ...

    async def update(self, key: str, limits: Limits) -> None:
        """Replace its limits while it runs. Raises LimitUnavailable; then the old ones hold."""
        ...

    async def watch_oom(self, key: str, tell: Callable[[], None]) -> None:
        """Call `tell` whenever the container runs out of memory, what was before included.

        Returns when it has ended, or at once where nobody counts its memory. Raises DriverError if
        it cannot be watched; `ExitStatus.oom_killed` tells all the same.
        """
        ...

    async def clean(self, key: str) -> None:
        """Remove whatever an earlier life of `key` left (control groups, processes). Idempotent."""
        ...

    async def leftovers(self) -> list[str]:
        """Keys that have something on this host but are not live; for `clean` at start."""
        ...
