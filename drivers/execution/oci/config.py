"""A command as config.json of the OCI runtime specification, versions 1.0.2 and 1.1.

Pure. Source: https://github.com/opencontainers/runtime-spec, config.md and config-linux.md.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.errors import SpawnFailed
from drivers.execution.base import Command, Device, IdRange, Namespace
from drivers.execution.defaults import MASKED_OF_HOST
from drivers.execution.oci.process import main_process
from drivers.execution.oci.resources import make_resources
from drivers.execution.user import Identity

VERSION = "1.0.2"
_NO_FILES = ["nosuid", "noexec", "nodev"]
# Our names of namespaces, and the specification's.
_NAMESPACES = {
    "pid": "pid",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
    "network": "network",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a configuration says besides the command."""

    cgroups_path: str  # below the mounts of the control groups; "" if there are none for us
    rootfs: str  # where the root is mounted, as the runtime sees it
    mount_sources: tuple[str, ...]  # the same for each of the command's mounts
    namespace_paths: Mapping[str, str] = field(default_factory=dict)  # of those that are joined
    seccomp: Mapping[str, Any] | None = None  # the specification's `linux.seccomp`
    swap: bool = True  # this host can limit it
    lends_proc: bool = False  # /proc is a copy of the host's, for who may not mount one
    lends_sys: bool = False  # the same for /sys
    last_capability: int = 63


def make_config(command: Command, identity: Identity, place: Place) -> dict[str, Any]:
    """The whole configuration. Raises InvalidRequest for text that JSON cannot carry.

    SpawnFailed for a mount over /proc.
    """
    return {
        "ociVersion": VERSION,
        "process": main_process(command, identity, last_capability=place.last_capability),
        "root": {"path": place.rootfs, "readonly": command.read_only},
        "hostname": command.hostname,
        "mounts": [*_kernel_mounts(command, place), *_mounts(command, place)],
        "linux": _linux(command, place),
    }


def _linux(command: Command, place: Place) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "namespaces": _namespaces(command, place),
        "resources": make_resources(command.limits, command.device_rules, swap=place.swap),
        "devices": [_device(device) for device in command.devices],
        "sysctl": _sysctls(command),
        "maskedPaths": [*command.masked_paths, *(MASKED_OF_HOST if place.lends_sys else ())],
        "readonlyPaths": list(command.readonly_paths),
    }
    if place.cgroups_path:
        linux["cgroupsPath"] = place.cgroups_path
    if command.id_map is not None:  # also where it is joined: runc wants them then too
        linux["uidMappings"] = [_id_range(ids) for ids in command.id_map.uids]
        linux["gidMappings"] = [_id_range(ids) for ids in command.id_map.gids]
    if place.seccomp is not None:
        linux["seccomp"] = dict(place.seccomp)
    return linux


def _namespaces(command: Command, place: Place) -> list[dict[str, str]]:
    found = [{"type": "mount"}]
    if command.id_map is not None:
        joined = place.namespace_paths.get("user")
        found.append({"type": "user", "path": joined} if joined else {"type": "user"})
    for ours, theirs in _NAMESPACES.items():
        wanted: Namespace = getattr(command.namespaces, ours)
        if wanted == "new":
            found.append({"type": theirs})
        elif wanted != "host":
            found.append({"type": theirs, "path": place.namespace_paths[ours]})
    return found


def _kernel_mounts(command: Command, place: Place) -> list[dict[str, Any]]:
    """/proc, /dev and /sys with what is below them."""
    access = "rw" if command.writable_sys else "ro"
    groups = _mount("/sys/fs/cgroup", "cgroup", [*_NO_FILES, "relatime", access])
    if not place.cgroups_path:  # and the host's are not to be seen
        groups = _mount("/sys/fs/cgroup", "tmpfs", [*_NO_FILES, "mode=755", "size=64k", "ro"])
    sys = _mount("/sys", "sysfs", [*_NO_FILES, access])
    if place.lends_sys:
        sys = _lent("/sys", "ro", "rro")
    return [
        _lent("/proc") if place.lends_proc else _mount("/proc", "proc", _NO_FILES),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/dev/shm", "tmpfs", [*_NO_FILES, "mode=1777", f"size={command.shm_size_bytes}"]),
        _mount("/dev/mqueue", "mqueue", _NO_FILES),
        sys,
        groups,
    ]


def _lent(path: str, *options: str) -> dict[str, Any]:
    """A copy of the host's."""
    all_options = ["rbind", "rprivate", *_NO_FILES, *options]
    return {"destination": path, "type": "none", "source": path, "options": all_options}


def _mount(destination: str, fstype: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": fstype, "source": fstype, "options": options}


def _mounts(command: Command, place: Place) -> list[dict[str, Any]]:
    """Binds of what was attached for the runtime; attributes such as read-only come with it."""
    for mount in command.mounts:
        _check_target(mount.target)
    return [
        {
            "destination": mount.target,
            "type": "bind",
            "source": source,
            "options": ["rbind", "rprivate"],
        }
        for mount, source in zip(command.mounts, place.mount_sources, strict=True)
    ]


def _check_target(target: str) -> None:
    """Not every runtime refuses a mount over what it writes to itself."""
    if posixpath.normpath(f"/{target.lstrip('/')}").split("/")[1] == "proc":
        raise SpawnFailed(f"mount {target}", errno.EPERM, "a mount may not cover a part of /proc")


def _sysctls(command: Command) -> dict[str, str]:
    found = dict(command.sysctls)
    if command.domainname:
        # `domainname` is new in 1.1; runtimes before that drop it silently
        found["kernel.domainname"] = command.domainname
    return found


def _device(device: Device) -> dict[str, Any]:
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }


def _id_range(ids: IdRange) -> dict[str, int]:
    return {"containerID": ids.container_id, "hostID": ids.host_id, "size": ids.size}
