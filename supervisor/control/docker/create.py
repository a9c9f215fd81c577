"""POST /containers/create: from Docker's words to a spec, refusing what is not there yet."""

from __future__ import annotations

import posixpath
import shlex
from typing import Any

import msgspec

from drivers.errors import InvalidRequest, NotImplementedYet
from supervisor.control.context import Control
from supervisor.control.docker.body import CreateBody, HostConfig, MountBody
from supervisor.control.docker.values import answer
from supervisor.control.http import Answer, Request
from supervisor.lifecycle import parse_signal
from supervisor.spec import (
    DEFAULT_SHM_SIZE_BYTES,
    Bind,
    ContainerSpec,
    LogConfig,
    ResourceLimits,
    RestartPolicy,
    Tmpfs,
)

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
)


async def create(control: Control, request: Request) -> Answer:
    """POST /containers/create"""
    raw = await request.read()
    body = _decode(raw)
    _refuse_unsupported(body, _host_config_fields(raw))
    spec = spec_of(body, name=request.get("name"))
    container = await control.manager.create(spec)
    return answer({"Id": container.id, "Warnings": []}, 201)


def _decode(raw: bytes) -> CreateBody:
    try:
        return msgspec.json.decode(raw, type=CreateBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"invalid JSON: {error}") from error


def _host_config_fields(raw: bytes) -> dict[str, Any]:
    """HostConfig with every field that was sent."""

    class Outer(msgspec.Struct):
        HostConfig: dict[str, Any] | None = None

    return msgspec.json.decode(raw, type=Outer).HostConfig or {}


def _refuse_unsupported(body: CreateBody, fields: dict[str, Any]) -> None:
    if body.tty:
        raise NotImplementedYet("a terminal (-t) is not implemented yet")
    for name, option, harmless in UNSUPPORTED:
        value = fields.get(name)
        if not value or value in harmless:
            continue
        hint = ": use --network host" if name in ("PortBindings", "PublishAllPorts") else ""
        raise NotImplementedYet(f"{option} is not implemented yet{hint}")


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
        mounts=_mounts(host),
        shm_size_bytes=host.shm_size or DEFAULT_SHM_SIZE_BYTES,
        limits=_limits(host),
        network=_network(host.network_mode),
        read_only=host.readonly_rootfs,
        no_new_privs=_no_new_privs(host.security_opt or []),
        oom_score_adj=host.oom_score_adj or None,
        extra_hosts=tuple(host.extra_hosts or ()),
        dns=tuple(host.dns or ()),
        stop_signal=body.stop_signal,
        stop_grace_s=None if body.stop_timeout is None else float(body.stop_timeout),
        restart=_restart(host),
        auto_remove=host.auto_remove,
        log=_log(host),
        execution="" if host.runtime == "runc" else host.runtime,
    )


def _argv(value: list[str] | str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(shlex.split(value) if isinstance(value, str) else value) or None


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


def _mounts(host: HostConfig) -> tuple[Bind | Tmpfs, ...]:
    mounts: list[Bind | Tmpfs] = [_bind(text) for text in host.binds or ()]
    mounts += [_mount(mount) for mount in host.mounts or ()]
    mounts += [_tmpfs(target, options) for target, options in (host.tmpfs or {}).items()]
    targets: set[str] = set()
    for mount in mounts:
        if not mount.target.startswith("/"):
            raise InvalidRequest(
                f"invalid mount path: '{mount.target}' mount path must be absolute", field="Target"
            )
        if posixpath.normpath(mount.target) == "/":
            raise InvalidRequest("invalid specification: destination can't be '/'", field="Target")
        if posixpath.normpath(mount.target) in targets:
            raise InvalidRequest(f"Duplicate mount point: {mount.target}", field="Target")
        targets.add(posixpath.normpath(mount.target))
    return tuple(mounts)


def _bind(text: str) -> Bind:
    """-v SOURCE:TARGET[:OPTIONS]"""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts[:2]):
        raise InvalidRequest(f"invalid volume specification: '{text}'", field="Binds")
    source, target, options = (*parts, "")[:3]
    if not source.startswith("/"):
        raise NotImplementedYet(
            f"a named volume ({source}) is not implemented yet: give the path of a directory"
        )
    read_only = False
    for option in filter(None, options.split(",")):
        if option not in ("ro", "rw", "z", "Z", "private", "rprivate", "cached", "delegated"):
            raise InvalidRequest(f"invalid mode: {option}", field="Binds")
        read_only = read_only or option == "ro"
    return Bind(source=source, target=target, read_only=read_only, make_source=True)


def _mount(mount: MountBody) -> Bind | Tmpfs:
    """--mount type=..."""
    match mount.type:
        case "bind":
            if not mount.source.startswith("/"):
                raise InvalidRequest(
                    f'invalid mount config for type "bind": invalid mount path: '
                    f"'{mount.source}' mount path must be absolute",
                    field="Mounts",
                )
            options = mount.bind_options
            return Bind(
                source=mount.source,
                target=mount.target,
                read_only=mount.read_only,
                recursive=not (options and options.non_recursive),
                make_source=bool(options and options.create_mountpoint),
            )
        case "tmpfs":
            size = mount.tmpfs_options.size_bytes if mount.tmpfs_options else 0
            mode = mount.tmpfs_options.mode if mount.tmpfs_options else 0
            return Tmpfs(
                target=mount.target,
                size_bytes=size or None,
                mode=mode or 0o1777,
                read_only=mount.read_only,
            )
        case "volume" | "npipe" | "cluster" | "image":
            raise NotImplementedYet(f"--mount type={mount.type} is not implemented yet")
    raise InvalidRequest(f"mount type unknown: {mount.type!r}", field="Mounts")


_SIZES = {"k": 1024, "m": 1024**2, "g": 1024**3}


def _tmpfs(target: str, options: str) -> Tmpfs:
    """--tmpfs TARGET[:OPTIONS]; options as mount(8) has them."""
    found: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        match name:
            case "size" if (value and value[:-1].isdecimal()) or value.isdecimal():
                unit = _SIZES.get(value[-1].lower())
                found["size_bytes"] = int(value[:-1]) * unit if unit else int(value)
            case "mode" if value:
                found["mode"] = int(value, 8)
            case "ro":
                found["read_only"] = True
            case "exec":
                found["exec"] = True
            case "rw" | "noexec" | "nosuid" | "nodev":
                pass
            case _:
                raise InvalidRequest(f"invalid tmpfs option {option!r}", field="Tmpfs")
    return Tmpfs(target=target, **found)
