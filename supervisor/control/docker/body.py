"""The body of a container's creation, as far as Creche reads it.

Unknown fields are ignored as dockerd ignores them. Source: the API reference, ContainerCreate.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

# Go's int64: what other clients can read again.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Body(msgspec.Struct, kw_only=True, rename="pascal"):
    """Base: names as Docker writes them."""


class LogConfigBody(Body, kw_only=True, rename="pascal"):
    type: str = ""
    config: dict[str, str] | None = None


class RestartPolicyBody(Body, kw_only=True, rename="pascal"):
    name: str = ""
    maximum_retry_count: Int64 = 0


class BindOptions(Body, kw_only=True, rename="pascal"):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False


class TmpfsOptions(Body, kw_only=True, rename="pascal"):
    size_bytes: Int64 = 0
    mode: Int64 = 0


class MountBody(Body, kw_only=True, rename="pascal"):
    type: str
    target: str = ""
    source: str = ""
    read_only: bool = False
    bind_options: BindOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class ThrottleBody(Body, kw_only=True, rename="pascal"):
    path: str
    rate: Int64


class WeightBody(Body, kw_only=True, rename="pascal"):
    path: str
    weight: Int64


class Resources(Body, kw_only=True, rename="pascal"):
    """Limits, of a new container and of an update; 0 says nothing."""

    memory: Int64 = 0
    memory_swap: Int64 = 0
    memory_reservation: Int64 = 0
    memory_swappiness: Int64 | None = None
    nano_cpus: Int64 = 0
    cpu_period: Int64 = 0
    cpu_quota: Int64 = 0
    cpu_shares: Int64 = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: Int64 | None = None
    oom_kill_disable: bool | None = None
    blkio_weight: Int64 = 0
    blkio_weight_device: list[WeightBody] | None = None
    blkio_device_read_bps: list[ThrottleBody] | None = None
    blkio_device_write_bps: list[ThrottleBody] | None = None
    blkio_device_read_iops: list[ThrottleBody] | None = msgspec.field(
        default=None, name="BlkioDeviceReadIOps"
    )
    blkio_device_write_iops: list[ThrottleBody] | None = msgspec.field(
        default=None, name="BlkioDeviceWriteIOps"
    )


class UpdateBody(Resources, kw_only=True, rename="pascal"):
    restart_policy: RestartPolicyBody | None = None


class DeviceBody(Body, kw_only=True, rename="pascal"):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class UlimitBody(Body, kw_only=True, rename="pascal"):
    name: str = ""
    soft: Int64 = 0
    hard: Int64 = 0


class HostConfig(Resources, kw_only=True, rename="pascal"):
    """What Creche does; `UNSUPPORTED` in create.py has what it does not."""

    binds: list[str] | None = None
    mounts: list[MountBody] | None = None
    tmpfs: dict[str, str] | None = None
    network_mode: str = ""
    restart_policy: RestartPolicyBody | None = None
    auto_remove: bool = False
    log_config: LogConfigBody | None = None
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    extra_hosts: list[str] | None = None
    dns: list[str] | None = None
    shm_size: Int64 = 0
    oom_score_adj: Int64 = 0
    runtime: str = ""
    console_size: tuple[Int64, Int64] | None = None  # height, width
    port_bindings: dict[str, Any] | None = None
    publish_all_ports: bool = False
    privileged: bool = False
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    devices: list[DeviceBody] | None = None
    device_cgroup_rules: list[str] | None = None
    ulimits: list[UlimitBody] | None = None
    sysctls: dict[str, str] | None = None
    init: bool | None = None
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    cgroupns_mode: str = ""
    userns_mode: str = ""
    group_add: list[str] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None


class CreateBody(Body, kw_only=True, rename="pascal"):
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    entrypoint: list[str] | str | None = None
    image: str = ""
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: Int64 | None = None
    host_config: HostConfig | None = None


class ExecCreateBody(Body, kw_only=True, rename="pascal"):
    """Of POST /containers/{id}/exec. Source: the API reference, ContainerExec."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    tty: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    console_size: tuple[Int64, Int64] | None = None  # height, width


class ExecStartBody(Body, kw_only=True, rename="pascal"):
    """Of POST /exec/{id}/start. Source: the API reference, ExecStart."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[Int64, Int64] | None = None
