"""From a spec to what the execution driver and the kernel need."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path

from drivers.errors import IncompatibleFilesystem, InvalidRequest, from_os_error
from drivers.execution.base import (
    Command,
    Device,
    MountAt,
    Namespace,
    Namespaces,
    WindowSize,
)
from drivers.execution.id_map import root_of
from drivers.execution.resources import DeviceRule
from drivers.kernel import mount
from drivers.network.base import Endpoint
from supervisor import userns
from supervisor.init import TARGET, find_init, init_argv
from supervisor.isolation import confine
from supervisor.joining import Joined, shares_pids
from supervisor.limits import to_driver
from supervisor.mount_points import ETC_FILES
from supervisor.spec import Bind, ContainerSpec, Isolation, Tmpfs, merge_env

_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
"""


def build_command(
    spec: ContainerSpec,
    *,
    root_fd: int,
    mounts: tuple[MountAt, ...],
    endpoint: Endpoint,
    window: WindowSize,
    joined: Joined,
    devices: tuple[Device, ...] = (),
    device_rules: tuple[DeviceRule, ...] = (),
) -> Command:
    """The command of a resolved spec; `window` is the size of its terminal, if it has one.

    Raises InvalidRequest for isolation that cannot be.
    """
    isolation = spec.isolation
    confinement = confine(spec)
    return Command(
        key=spec.id,
        root_fd=root_fd,
        argv=init_argv(spec.argv) if has_init(isolation) else spec.argv,
        env=environment(spec, tty=spec.tty),
        cwd=spec.workdir or "/",
        user=spec.user,
        group_add=isolation.group_add,
        hostname="" if joined.uts == "host" else spec.hostname,
        domainname="" if joined.uts == "host" else spec.domainname,
        mounts=(*joined.mounts, *mounts),
        read_only=spec.read_only,
        namespaces=Namespaces(
            user=joined.user,
            pid=joined.pid,
            ipc=joined.ipc,
            uts=joined.uts,
            cgroup=joined.cgroup,
            network=_network(endpoint),
        ),
        id_map=userns.to_driver(spec.user_map),
        terminal=window if spec.tty else None,
        shm_size_bytes=spec.shm_size_bytes if joined.own_shm else 0,
        capabilities=confinement.capabilities,
        no_new_privs=confinement.no_new_privs,
        seccomp=confinement.seccomp,
        apparmor=confinement.apparmor,
        sysctls=confinement.sysctls,
        devices=devices,
        device_rules=device_rules,
        writable_sys=confinement.writable_sys,
        masked_paths=confinement.masked_paths,
        readonly_paths=confinement.readonly_paths,
        rlimits=confinement.rlimits,
        oom_score_adj=spec.oom_score_adj,
        limits=to_driver(spec.limits),
    )


def environment(spec: ContainerSpec, *, tty: bool) -> tuple[str, ...]:
    """The variables of a container's processes; the spec's win, as with Docker."""
    own = [f"HOSTNAME={spec.hostname}", *(["TERM=xterm"] if tty else [])]
    return merge_env(tuple(own), spec.env)


def has_init(isolation: Isolation) -> bool:
    """Whether a reaping process goes in front; only number 1 of a namespace has to reap."""
    return isolation.init and not shares_pids(isolation)


def _network(endpoint: Endpoint) -> Namespace:
    if endpoint.host:
        return "host"
    return "new" if endpoint.netns_fd is None else endpoint.netns_fd


def write_etc_files(spec: ContainerSpec, directory: Path) -> None:
    """Make /etc/hostname, hosts and resolv.conf of the container below `directory`."""
    (directory / "hostname").write_text(f"{spec.hostname}\n")
    extra = "".join(
        f"{ip}\t{name}\n" for name, _, ip in (h.partition(":") for h in spec.extra_hosts)
    )
    own = f"{_HOSTS}127.0.1.1\t{spec.hostname}\n"
    hosts = _of_host("/etc/hosts") if spec.network == "host" else own
    (directory / "hosts").write_text(hosts + extra)
    (directory / "resolv.conf").write_text(_resolv_conf(spec))


def _resolv_conf(spec: ContainerSpec) -> str:
    if spec.dns:
        return "".join(f"nameserver {server}\n" for server in spec.dns)
    return _of_host("/etc/resolv.conf")


def _of_host(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""


def open_mounts(
    spec: ContainerSpec, directory: Path, held: ExitStack, userns_fd: int | None = None
) -> tuple[MountAt, ...]:
    """Detached mounts of everything the spec asks for; `held` closes them.

    Files of our own are seen through the user namespace's maps, the host's as they are.
    Raises InvalidRequest naming a bind source that is not there, Unsupported if there is no
    program for --init.
    """
    mounts: list[MountAt] = []
    for name in ETC_FILES:
        fd = _open_bind(Bind(source=str(directory / name), target=""), userns_fd)
        held.callback(os.close, fd)
        mounts.append(MountAt(fd=fd, target=f"/etc/{name}"))
    for wanted in spec.mounts:
        fd = _open_bind(wanted) if isinstance(wanted, Bind) else _open_tmpfs(wanted, spec)
        held.callback(os.close, fd)
        mounts.append(MountAt(fd=fd, target=wanted.target))
    if has_init(spec.isolation):
        fd = _open_bind(Bind(source=find_init(), target=TARGET, read_only=True, recursive=False))
        held.callback(os.close, fd)
        mounts.append(MountAt(fd=fd, target=TARGET))
    return tuple(mounts)


def check_mounts(spec: ContainerSpec) -> None:
    """Raise InvalidRequest naming a bind source that is not there and is not to be made."""
    for wanted in spec.mounts:
        if (
            isinstance(wanted, Bind)
            and not wanted.make_source
            and not os.path.exists(wanted.source)
        ):
            raise _no_source(wanted)
    if spec.rootfs and not os.path.isdir(spec.rootfs):
        raise InvalidRequest(f"rootfs {spec.rootfs} is not a directory", field="rootfs")


def _no_source(bind: Bind) -> InvalidRequest:
    return InvalidRequest(
        'invalid mount config for type "bind": bind source path does not exist: ' + bind.source
    )


def open_rootfs(path: str, userns_fd: int | None = None) -> int:
    """A detached mount of a directory of the host that serves as a root file system."""
    return _open_bind(Bind(source=path, target="/", recursive=True), userns_fd)


def _open_bind(bind: Bind, userns_fd: int | None = None) -> int:
    try:
        if bind.make_source:
            os.makedirs(bind.source, exist_ok=True)
    except FileExistsError:
        pass  # it is a file, which can be bound as well
    except OSError as error:
        raise from_os_error(error, f"make bind source {bind.source}") from error
    try:
        fd = mount.open_tree_clone(bind.source, recursive=bind.recursive)
    except FileNotFoundError as error:
        raise _no_source(bind) from error
    except OSError as error:
        raise from_os_error(error, f"bind {bind.source}") from error
    try:
        # private: what is mounted in the container later must not reach the host, nor the reverse
        mount.mount_setattr(
            fd,
            set_=mount.ATTR.RDONLY if bind.read_only else mount.ATTR(0),
            propagation=mount.MS.PRIVATE,
            recursive=bind.recursive,
            userns_fd=userns_fd,
        )
    except OSError as error:
        os.close(fd)
        if userns_fd is not None and error.errno in (errno.EINVAL, errno.EPERM):
            raise IncompatibleFilesystem(
                f"user namespace: the file system of {bind.source} has no id-mapped mounts"
            ) from error
        raise from_os_error(error, f"set attributes of bind {bind.source}") from error
    return fd


def _open_tmpfs(tmpfs: Tmpfs, spec: ContainerSpec) -> int:
    id_map = userns.to_driver(spec.user_map)
    uid, gid = (0, 0) if id_map is None else root_of(id_map)
    context = mount.fsopen("tmpfs")
    try:
        mount.fsconfig_string(context, "source", "tmpfs")
        mount.fsconfig_string(context, "mode", f"{tmpfs.mode:o}")
        mount.fsconfig_string(context, "uid", str(uid))
        mount.fsconfig_string(context, "gid", str(gid))
        if tmpfs.size_bytes is not None:
            mount.fsconfig_string(context, "size", str(tmpfs.size_bytes))
        mount.fsconfig_create(context)
        attributes = mount.ATTR.NOSUID | mount.ATTR.NODEV
        if not tmpfs.exec:
            attributes |= mount.ATTR.NOEXEC
        if tmpfs.read_only:
            attributes |= mount.ATTR.RDONLY
        return mount.fsmount(context, attributes)
    except OSError as error:
        raise from_os_error(error, f"make tmpfs for {tmpfs.target}") from error
    finally:
        os.close(context)
