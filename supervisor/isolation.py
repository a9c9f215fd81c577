"""What the isolation that was asked for means: checks of it, and what the driver is to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivers.errors import InvalidRequest
from drivers.execution import seccomp
from drivers.execution.base import Rlimit
from drivers.execution.defaults import DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS
from drivers.kernel import capabilities
from drivers.kernel.descriptors import given_limit
from supervisor.capabilities import capabilities_of, check_capability_names
from supervisor.devices import check_device_values, devices_of
from supervisor.init import find_init
from supervisor.kernel_settings import check_ulimits, sysctls_of
from supervisor.spec import ContainerSpec, Isolation
from supervisor.userns import check_mode

UNCONFINED = "unconfined"
BUILTIN = "builtin"  # Docker's word for the default profile
CONTAINER = "container:"
_LEAST_OOM_SCORE, _MOST_OOM_SCORE = -1000, 1000
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
_APPARMOR_PROFILES = Path("/sys/kernel/security/apparmor/profiles")
# What a mode may be, besides "container:NAME" for the first two.
_MODES: tuple[tuple[str, str, str, frozenset[str]], ...] = (
    ("pid_mode", "PidMode", "PID", frozenset({"", "private", "host"})),
    ("ipc_mode", "IpcMode", "IPC", frozenset({"", "private", "shareable", "host", "none"})),
    ("uts_mode", "UTSMode", "UTS", frozenset({"", "private", "host"})),
    ("cgroupns_mode", "CgroupnsMode", "cgroup namespace", frozenset({"", "private", "host"})),
)
_JOINING = frozenset({"pid_mode", "ipc_mode"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """The part of a `Command` that isolation decides, by the same names."""

    capabilities: frozenset[str]
    no_new_privs: bool
    seccomp: str
    apparmor: str
    writable_sys: bool
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]
    rlimits: tuple[Rlimit, ...]
    sysctls: tuple[tuple[str, str], ...]


def confine(spec: ContainerSpec) -> Confinement:
    """What `spec` means on this host. Raises InvalidRequest."""
    isolation = spec.isolation
    privileged = isolation.privileged
    return Confinement(
        capabilities=capabilities_of(isolation, capabilities.available()),
        no_new_privs=isolation.no_new_privs,
        seccomp=_seccomp(isolation),
        apparmor=_apparmor(isolation),
        writable_sys=privileged,
        masked_paths=_paths(isolation.masked_paths, DEFAULT_MASKED_PATHS, privileged),
        readonly_paths=_paths(isolation.readonly_paths, DEFAULT_READONLY_PATHS, privileged),
        rlimits=_rlimits(isolation),
        sysctls=sysctls_of(isolation, host_network=spec.network == "host"),
    )


def _rlimits(isolation: Isolation) -> tuple[Rlimit, ...]:
    """Those asked for, and what the daemon was given where it has raised its own."""
    asked = {
        limit.name: Rlimit(name=limit.name, soft=limit.soft, hard=limit.hard)
        for limit in isolation.ulimits
    }
    given = given_limit()
    if given is not None and "nofile" not in asked:
        asked["nofile"] = Rlimit(name="nofile", soft=given[0], hard=given[1])
    return tuple(asked.values())


def _seccomp(isolation: Isolation) -> str:
    """The profile asked for; else none if privileged, as with Docker, and the default's if not."""
    if isolation.seccomp == BUILTIN:
        return seccomp.DEFAULT
    usual = seccomp.UNCONFINED if isolation.privileged else seccomp.DEFAULT
    return isolation.seccomp or usual


def _apparmor(isolation: Isolation) -> str:
    """The profile, where there is AppArmor: where there is none, Docker passes over the option."""
    named = isolation.apparmor not in ("", UNCONFINED)
    return isolation.apparmor if named and apparmor_is_on() else ""


def _paths(
    asked: tuple[str, ...] | None, usual: tuple[str, ...], privileged: bool
) -> tuple[str, ...]:
    if asked is not None:
        return asked
    return () if privileged else usual


def apparmor_is_on() -> bool:
    """Whether this kernel confines by AppArmor."""
    try:
        return _APPARMOR.read_text().startswith("Y")
    except OSError:
        return False


def check_values(spec: ContainerSpec) -> None:
    """Raise InvalidRequest for what is wrong on every host; `field` is Docker's name of it."""
    isolation = spec.isolation
    check_capability_names(isolation)
    check_device_values(isolation)
    check_ulimits(isolation.ulimits)
    for attribute, field, name, known in _MODES:
        _check_mode(getattr(isolation, attribute), field, name, known, attribute in _JOINING)
    check_mode(isolation.userns_mode)
    sysctls_of(isolation, host_network=spec.network == "host")
    score = spec.oom_score_adj or 0
    if not _LEAST_OOM_SCORE <= score <= _MOST_OOM_SCORE:
        raise InvalidRequest(
            f"Invalid value {score}, range for oom score adj is "
            f"[{_LEAST_OOM_SCORE}, {_MOST_OOM_SCORE}]",
            field="OomScoreAdj",
        )
    if isolation.uts_mode == "host" and spec.hostname:
        raise InvalidRequest("conflicting options: hostname and the UTS mode", field="Hostname")
    for path in (*(isolation.masked_paths or ()), *(isolation.readonly_paths or ())):
        if not path.startswith("/") or "\0" in path:
            raise InvalidRequest(f"invalid path {path!r}: not absolute", field="MaskedPaths")


def _check_mode(mode: str, field: str, name: str, known: frozenset[str], joins: bool) -> None:
    if mode not in known and not (joins and mode.startswith(CONTAINER) and mode != CONTAINER):
        raise InvalidRequest(f"invalid {name} mode: {mode}", field=field)


def check_here(spec: ContainerSpec) -> None:
    """Raise for what is wrong on this host: blocking, it looks at devices and compiles filters.

    InvalidRequest names the option; Unsupported tells what this host lacks.
    """
    confinement = confine(spec)
    devices_of(spec.isolation)
    seccomp.filter_of(confinement.seccomp, confinement.capabilities)
    if confinement.apparmor:
        _check_apparmor(confinement.apparmor)
    if spec.isolation.init:
        find_init()


def _check_apparmor(name: str) -> None:
    try:
        loaded = {line.rpartition(" (")[0] for line in _APPARMOR_PROFILES.read_text().splitlines()}
    except OSError:
        return  # not ours to read: the kernel tells at the start
    if name not in loaded:
        raise InvalidRequest(f'apparmor profile "{name}" is not loaded', field="SecurityOpt")


def warnings_of(spec: ContainerSpec) -> list[str]:
    """What was asked for and has no effect on this host."""
    isolation = spec.isolation
    found = []
    if isolation.apparmor not in ("", UNCONFINED) and not apparmor_is_on():
        found.append(f"AppArmor is off on this host: profile {isolation.apparmor} has no effect")
    if any(label != "disable" for label in isolation.labels):
        found.append("Creche sets no SELinux labels: --security-opt label has no effect")
    return found
