"""POST /containers/create: from Docker's words to a spec, refusing what is not there yet."""

from __future__ import annotations

import posixpath
import shlex
from typing import Any, TypeVar

import msgspec

from drivers.errors import InvalidRequest, NotImplementedYet
from drivers.execution.defaults import DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS
from supervisor.control.context import Control
from supervisor.control.docker.body import CreateBody, HostConfig
from supervisor.control.docker.mounts import mounts_of
from supervisor.control.docker.values import answer
from supervisor.control.http import Answer, Request
from supervisor.lifecycle import parse_signal
from supervisor.spec import (
    DEFAULT_SHM_SIZE_BYTES,
    ContainerSpec,
    Isolation,
    LogConfig,
    ResourceLimits,
    RestartPolicy,
)

T = TypeVar("T")

# The default network is for now a namespace with loopback only, whatever name it is asked by.
DEFAULT_NETWORKS = frozenset({"", "default", "bridge", "none"})
_LEAST_MEMORY_BYTES = 6 * 1024 * 1024
_CPU_PERIOD_USEC = 100_000

# Fields of HostConfig that ask for something Creche does not do, with the option that sets them.
# Whatever is neither null, false, zero, empty nor in the last column is refused.
UNSUPPORTED: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("PortBindings", "publishing ports (-p)", ()),
    ("PublishAllPorts", "publishing ports (-P)", ()),
    ("Privileged", "--privileged", ()),
    ("CapAdd", "--cap-add", ()),
    ("CapDrop", "--cap-drop", ()),
    ("Devices", "--device", ()),
    ("DeviceCgroupRules", "--device-cgroup-rule", ()),
    ("DeviceRequests", "--gpus", ()),
    ("VolumesFrom", "--volumes-from", ()),
    ("VolumeDriver", "--volume-driver", ("local",)),
    ("Links", "--link", ()),
    ("PidMode", "--pid", ("private",)),
    ("IpcMode", "--ipc", ("private", "shareable")),
    ("UTSMode", "--uts", ()),
    ("UsernsMode", "--userns", ()),
    ("CgroupnsMode", "--cgroupns", ("private",)),
    ("GroupAdd", "--group-add", ()),
    ("Ulimits", "--ulimit", ()),
    ("Sysctls", "--sysctl", ()),
    ("Init", "--init", ()),
    ("CpusetCpus", "--cpuset-cpus", ()),
    ("CpusetMems", "--cpuset-mems", ()),
    ("CpuShares", "--cpu-shares", ()),
    ("CpuRealtimePeriod", "--cpu-rt-period", ()),
    ("CpuRealtimeRuntime", "--cpu-rt-runtime", ()),
    ("MemoryReservation", "--memory-reservation", ()),
    ("MemorySwappiness", "--memory-swappiness", (-1,)),
    ("OomKillDisable", "--oom-kill-disable", ()),
    ("BlkioWeight", "--blkio-weight", ()),
    ("BlkioWeightDevice", "--blkio-weight-device", ()),
    ("BlkioDeviceReadBps", "--device-read-bps", ()),
    ("BlkioDeviceWriteBps", "--device-write-bps", ()),
    ("BlkioDeviceReadIOps", "--device-read-iops", ()),
    ("BlkioDeviceWriteIOps", "--device-write-iops", ()),
    ("StorageOpt", "--storage-opt", ()),
    ("CgroupParent", "--cgroup-parent", ()),
    ("DnsOptions", "--dns-option", ()),
    ("DnsSearch", "--dns-search", ()),
    ("Annotations", "--annotation", ()),
    ("KernelMemory", "--kernel-memory", ()),
    ("Isolation", "--isolation", ("default",)),
)

# The same for the fields beside HostConfig.
UNSUPPORTED_OUTSIDE: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("Tty", "a terminal (-t)", ()),
    ("Volumes", "an anonymous volume (-v with one path)", ()),
    ("Healthcheck", "a health check (--health-cmd)", ({"Test": ["NONE"]}, {"Test": []})),
    ("MacAddress", "--mac-address", ()),
)
# Lists of which another than the usual one asks for something: that less is hidden.
_PATH_LISTS = (
    ("MaskedPaths", DEFAULT_MASKED_PATHS),
    ("ReadonlyPaths", DEFAULT_READONLY_PATHS),
)
# What --network-alias, --ip and the like set of an endpoint.
_ENDPOINT = ("IPAMConfig", "Links", "Aliases", "MacAddress", "DriverOpts")
_PORTS = ("PortBindings", "PublishAllPorts")
_NO_AUTO_REMOVE = (1, 24)  # up to here the client removes the container


async def create(control: Control, request: Request) -> Answer:
    """POST /containers/create"""
    raw = await request.read()
    body = _decode(raw, CreateBody)
    refuse_unsupported(_decode(raw, dict[str, Any]))
    spec = spec_of(body, name=request.get("name"))
    if request.api_version <= _NO_AUTO_REMOVE:
        spec = msgspec.structs.replace(spec, auto_remove=False)
    container = await control.manager.create(spec)
    return answer({"Id": container.id, "Warnings": []}, 201)


def _decode(raw: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"invalid JSON: {error}") from error


def refuse_unsupported(fields: dict[str, Any]) -> None:
    """Raise NotImplementedYet, naming the option, for what Creche does not do yet.

    `fields` is the whole body, which has the right types where `CreateBody` says.
    """
    host = fields.get("HostConfig") or {}
    for table, sent in ((UNSUPPORTED_OUTSIDE, fields), (UNSUPPORTED, host)):
        for name, option, harmless in table:
            value = sent.get(name)
            if value and value not in harmless:
                hint = ": use --network host" if name in _PORTS else ""
                raise NotImplementedYet(f"{option} is not implemented yet{hint}")
    for name, usual in _PATH_LISTS:
        if host.get(name) not in (None, list(usual)):
            raise NotImplementedYet("--security-opt systempaths=unconfined is not implemented yet")
    networking = fields.get("NetworkingConfig")
    endpoints = networking.get("EndpointsConfig") if isinstance(networking, dict) else None
    for endpoint in endpoints.values() if isinstance(endpoints, dict) else ():
        if isinstance(endpoint, dict) and any(endpoint.get(name) for name in _ENDPOINT):
            raise NotImplementedYet("an address or alias in a network is not implemented yet")


def spec_of(body: CreateBody, *, name: str) -> ContainerSpec:
    """The spec that a body asks for. Raises InvalidRequest naming what is wrong."""
    host = body.host_config or HostConfig()
    if not body.image:
        raise InvalidRequest("no image was given", field="Image")
    if body.stop_signal:
        parse_signal(body.stop_signal)
    return ContainerSpec(
        name=name,
        image=body.image,
        entrypoint=_argv(body.entrypoint),
        cmd=_argv(body.cmd),
        env=tuple(body.env or ()),
        user=body.user,
        workdir=_workdir(body.working_dir),
        hostname=body.hostname,
        domainname=body.domainname,
        labels=body.labels or {},
        attach_stdout=body.attach_stdout,
        attach_stderr=body.attach_stderr,
        open_stdin=body.open_stdin,
        stdin_once=body.stdin_once,
        mounts=mounts_of(host),
        shm_size_bytes=host.shm_size or DEFAULT_SHM_SIZE_BYTES,
        limits=_limits(host),
        network=_network(host.network_mode),
        read_only=host.readonly_rootfs,
        isolation=Isolation(no_new_privs=_no_new_privs(host.security_opt or [])),
        oom_score_adj=host.oom_score_adj or None,
        extra_hosts=tuple(host.extra_hosts or ()),
        dns=tuple(host.dns or ()),
        stop_signal=body.stop_signal,
        stop_grace_s=None if body.stop_timeout is None else float(body.stop_timeout),
        restart=_restart(host),
        auto_remove=host.auto_remove,
        log=_log(host),
        execution=host.runtime,
    )


def _argv(value: list[str] | str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    try:
        return tuple(shlex.split(value) if isinstance(value, str) else value) or None
    except ValueError as error:
        raise InvalidRequest(f"invalid command {value!r}: {error}") from error


def _workdir(path: str) -> str:
    if path and not path.startswith("/"):
        raise InvalidRequest(
            f"the working directory '{path}' is invalid, it needs to be an absolute path",
            field="WorkingDir",
        )
    return posixpath.normpath(path) if path else ""


def _network(mode: str) -> str:
    if mode in DEFAULT_NETWORKS:
        return "none"
    if mode.startswith("container:"):
        raise NotImplementedYet("--network container: is not implemented yet")
    return mode


def _no_new_privs(options: list[str]) -> bool:
    wanted = False
    for option in options:
        name, _, value = option.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and value in ("", "true", "false"):
            wanted = value != "false"
        else:
            raise NotImplementedYet(f"--security-opt {option} is not implemented yet")
    return wanted


def _restart(host: HostConfig) -> RestartPolicy:
    asked = host.restart_policy
    if asked is None or asked.name in ("", "no"):
        return RestartPolicy()
    if asked.name not in ("always", "on-failure", "unless-stopped"):
        raise InvalidRequest(
            f"invalid restart policy: unknown policy '{asked.name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'",
            field="RestartPolicy",
        )
    if asked.maximum_retry_count < 0 or (asked.maximum_retry_count and asked.name != "on-failure"):
        raise InvalidRequest(
            "invalid restart policy: maximum retry count can only be used with 'on-failure' "
            "and cannot be negative",
            field="RestartPolicy",
        )
    if host.auto_remove:
        raise InvalidRequest(
            "can't create 'AutoRemove' container with restart policy", field="RestartPolicy"
        )
    return RestartPolicy(name=asked.name, give_up_after=asked.maximum_retry_count or None)  # type: ignore[arg-type]


def _limits(host: HostConfig) -> ResourceLimits:
    if 0 < host.memory < _LEAST_MEMORY_BYTES:
        raise InvalidRequest("Minimum memory limit allowed is 6MB", field="Memory")
    if host.memory < 0 or host.nano_cpus < 0:
        raise InvalidRequest("a limit cannot be negative", field="Memory")
    if host.memory_swap > 0 and (not host.memory or host.memory_swap < host.memory):
        raise InvalidRequest(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
            field="MemorySwap",
        )
    nano_cpus = host.nano_cpus
    if host.cpu_quota > 0:
        nano_cpus = host.cpu_quota * 1_000_000_000 // (host.cpu_period or _CPU_PERIOD_USEC)
    return ResourceLimits(
        memory_bytes=host.memory or None,
        memory_swap_bytes=host.memory_swap or None,
        nano_cpus=nano_cpus or None,
        pids=host.pids_limit if host.pids_limit and host.pids_limit > 0 else None,
    )


def _log(host: HostConfig) -> tuple[LogConfig, ...]:
    asked = host.log_config
    if asked is None or not (asked.type or asked.config):
        return ()
    return (LogConfig(driver=asked.type, options=asked.config or {}),)
