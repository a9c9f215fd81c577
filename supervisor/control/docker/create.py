"""POST /containers/create: from Docker's words to a spec, refusing what is not there yet."""

from __future__ import annotations

import shlex
from typing import Any, TypeVar

import msgspec

from drivers.errors import InvalidRequest, NotImplementedYet
from supervisor.control.context import Control
from supervisor.control.docker.body import CreateBody, HostConfig
from supervisor.control.docker.isolation import isolation_of
from supervisor.control.docker.limits import limits_of, without_lacking
from supervisor.control.docker.mounts import mounts_of
from supervisor.control.docker.restart import restart_of
from supervisor.control.docker.values import absolute_workdir, answer
from supervisor.control.http import Answer, Request
from supervisor.isolation import warnings_of
from supervisor.lifecycle import parse_signal
from supervisor.spec import (
    DEFAULT_SHM_SIZE_BYTES,
    ContainerSpec,
    LogConfig,
    RestartPolicy,
)
from supervisor.terminal import check_size
from supervisor.userns import Caller

T = TypeVar("T")

# The default network is for now a namespace with loopback only, whatever name it is asked by.
DEFAULT_NETWORKS = frozenset({"", "default", "bridge", "none"})

# Fields of HostConfig that ask for something Creche does not do, with the option that sets them.
# Whatever is neither null, false, zero, empty nor in the last column is refused.
UNSUPPORTED: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("PortBindings", "publishing ports (-p)", ()),
    ("PublishAllPorts", "publishing ports (-P)", ()),
    ("DeviceRequests", "--gpus", ()),
    ("VolumesFrom", "--volumes-from", ()),
    ("VolumeDriver", "--volume-driver", ("local",)),
    ("Links", "--link", ()),
    ("CpuRealtimePeriod", "--cpu-rt-period", ()),
    ("CpuRealtimeRuntime", "--cpu-rt-runtime", ()),
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
    ("Volumes", "an anonymous volume (-v with one path)", ()),
    ("Healthcheck", "a health check (--health-cmd)", ({"Test": ["NONE"]}, {"Test": []})),
    ("MacAddress", "--mac-address", ()),
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
    host, warnings = await without_lacking(body.host_config or HostConfig())
    spec = spec_of(msgspec.structs.replace(body, host_config=host), name=request.get("name"))
    if request.api_version <= _NO_AUTO_REMOVE:
        spec = msgspec.structs.replace(spec, auto_remove=False)
    caller = Caller(uid=request.peer.uid, gid=request.peer.gid)
    container = await control.manager.create(spec, caller)
    warnings += warnings_of(container.spec)
    return answer({"Id": container.id, "Warnings": warnings}, 201)


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
        entrypoint=_entrypoint(body.entrypoint),
        cmd=_argv(body.cmd),
        env=tuple(body.env or ()),
        user=body.user,
        workdir=absolute_workdir(body.working_dir),
        hostname=body.hostname,
        domainname=body.domainname,
        labels=body.labels or {},
        attach_stdout=body.attach_stdout,
        attach_stderr=body.attach_stderr,
        tty=body.tty,
        console_size=_console_size(host),
        open_stdin=body.open_stdin,
        stdin_once=body.stdin_once,
        mounts=mounts_of(host),
        shm_size_bytes=host.shm_size or DEFAULT_SHM_SIZE_BYTES,
        limits=limits_of(host),
        network=_network(host.network_mode),
        read_only=host.readonly_rootfs,
        isolation=isolation_of(host),
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


def _entrypoint(value: list[str] | str | None) -> tuple[str, ...] | None:
    """An empty word takes the image's entrypoint and command away, as `--entrypoint ""` does."""
    return () if value in ("", [""]) else _argv(value)


def _console_size(host: HostConfig) -> tuple[int, int]:
    size = check_size(*(host.console_size or (0, 0)))
    return size.rows, size.columns


def _network(mode: str) -> str:
    if mode in DEFAULT_NETWORKS:
        return "none"
    if mode.startswith("container:"):
        raise NotImplementedYet("--network container: is not implemented yet")
    return mode


def _restart(host: HostConfig) -> RestartPolicy:
    policy = restart_of(host.restart_policy)
    if host.auto_remove and policy.name != "no":
        raise InvalidRequest(
            "can't create 'AutoRemove' container with restart policy", field="RestartPolicy"
        )
    return policy


def _log(host: HostConfig) -> tuple[LogConfig, ...]:
    asked = host.log_config
    if asked is None or not (asked.type or asked.config):
        return ()
    return (LogConfig(driver=asked.type, options=asked.config or {}),)
