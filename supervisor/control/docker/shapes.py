"""A container as GET /containers/{id}/json and GET /containers/json show it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.container import Container
from supervisor.control.docker.isolation import shown, shown_apparmor
from supervisor.control.docker.limits import shown_limits
from supervisor.control.docker.values import ago, rfc3339
from supervisor.spec import Bind, ContainerSpec
from supervisor.states import State


def inspected(
    container: Container,
    *,
    storage: str,
    graph: Mapping[str, str],
    default_runtime: str,
    exec_ids: Sequence[str],
) -> dict[str, Any]:
    """The whole of one container."""
    spec, record = container.spec, container.record
    argv = spec.argv
    files = {
        f"{kind}Path": str(container.directory / name)
        for kind, name in (
            ("ResolvConf", "resolv.conf"),
            ("Hostname", "hostname"),
            ("Hosts", "hosts"),
        )
    }
    return {
        "Id": spec.id,
        "Created": rfc3339(spec.created_ns),
        "Path": argv[0] if argv else "",
        "Args": list(argv[1:]),
        "State": _state(container),
        "Image": spec.image_id,
        **files,
        "LogPath": str(container.directory / f"{spec.id}-json.log"),
        "Name": f"/{spec.name}",
        "RestartCount": record.restart_count,
        "Driver": storage,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": shown_apparmor(spec.isolation),
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": _host_config(spec, default_runtime),
        "GraphDriver": {"Name": storage, "Data": dict(graph)},
        "Mounts": [_mount(mount) for mount in spec.mounts],
        "Config": _config(spec),
        "NetworkSettings": _networks(spec),
    }


def _state(container: Container) -> dict[str, Any]:
    record = container.record
    status = record.docker_status
    return {
        "Status": status,
        "Running": status in ("running", "restarting", "paused"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": record.oom_killed,
        "Dead": record.state is State.DEAD,
        "Pid": record.pid,
        "ExitCode": record.exit_code,
        "Error": record.error,
        "StartedAt": rfc3339(record.started_ns),
        "FinishedAt": rfc3339(record.finished_ns),
    }


def _config(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "User": spec.user,
        "AttachStdin": spec.open_stdin,
        "AttachStdout": spec.attach_stdout,
        "AttachStderr": spec.attach_stderr,
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": list(spec.env),
        "Cmd": None if spec.cmd is None else list(spec.cmd),
        "Image": spec.image,
        "Volumes": None,
        "WorkingDir": spec.workdir,
        "Entrypoint": None if spec.entrypoint is None else list(spec.entrypoint),
        "OnBuild": None,
        "Labels": spec.labels,
        "StopSignal": spec.stop_signal,
        "StopTimeout": None if spec.stop_grace_s is None else round(spec.stop_grace_s),
    }


def _host_config(spec: ContainerSpec, default_runtime: str) -> dict[str, Any]:
    log = spec.log[0] if spec.log else None
    binds = [m for m in spec.mounts if isinstance(m, Bind)]
    return {
        "Binds": [f"{b.source}:{b.target}{':ro' if b.read_only else ''}" for b in binds] or None,
        "LogConfig": {"Type": log.driver if log else "", "Config": log.options if log else {}},
        "NetworkMode": spec.network,
        "PortBindings": {},
        "RestartPolicy": {
            "Name": spec.restart.name,
            "MaximumRetryCount": spec.restart.give_up_after or 0,
        },
        "AutoRemove": spec.auto_remove,
        "Dns": list(spec.dns),
        "DnsOptions": [],
        "DnsSearch": [],
        "ExtraHosts": list(spec.extra_hosts) or None,
        "OomScoreAdj": spec.oom_score_adj or 0,
        "PublishAllPorts": False,
        "ConsoleSize": list(spec.console_size),
        "ReadonlyRootfs": spec.read_only,
        "ShmSize": spec.shm_size_bytes,
        "Runtime": spec.execution or default_runtime,
        **shown_limits(spec.limits),
        **shown(spec.isolation),
    }


def _mount(mount: object) -> dict[str, Any]:
    if isinstance(mount, Bind):
        return {
            "Type": "bind",
            "Source": mount.source,
            "Destination": mount.target,
            "Mode": "ro" if mount.read_only else "",
            "RW": not mount.read_only,
            "Propagation": "rprivate",
        }
    target = getattr(mount, "target", "")
    read_only = getattr(mount, "read_only", False)
    return {
        "Type": "tmpfs",
        "Source": "",
        "Destination": target,
        "Mode": "",
        "RW": not read_only,
        "Propagation": "",
    }


def _networks(spec: ContainerSpec) -> dict[str, Any]:
    endpoint = {"NetworkID": spec.network, "EndpointID": "", "Gateway": "", "IPAddress": ""}
    return {"Ports": {}, "IPAddress": "", "Networks": {spec.network: endpoint}}


def listed(container: Container) -> dict[str, Any]:
    """The line of one container."""
    spec = container.spec
    return {
        "Id": spec.id,
        "Names": [f"/{spec.name}"],
        "Image": spec.image or spec.rootfs,
        "ImageID": spec.image_id,
        "Command": shlex.join(spec.argv),
        "Created": spec.created_ns // 1_000_000_000,
        "Ports": [],
        "Labels": spec.labels,
        "State": container.record.docker_status,
        "Status": status_words(container),
        "HostConfig": {"NetworkMode": spec.network},
        "NetworkSettings": {"Networks": {spec.network: {"NetworkID": spec.network}}},
        "Mounts": [_mount(mount) for mount in spec.mounts],
    }


def status_words(container: Container) -> str:
    """What `docker ps` shows: "Up 2 minutes", "Exited (0) 3 hours ago"."""
    record = container.record
    now_s = time.time()
    ended = f"({record.exit_code}) {ago(now_s - record.finished_ns / 1e9)} ago"
    match record.docker_status:
        case "running":
            return f"Up {ago(now_s - record.started_ns / 1e9)}"
        case "paused":
            return f"Up {ago(now_s - record.started_ns / 1e9)} (Paused)"
        case "restarting":
            return f"Restarting {ended}"
        case "created":
            return "Created"
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"
    return f"Exited {ended}"
