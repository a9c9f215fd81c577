"""Isolation as Docker's options write it, read and shown again.

Source: the API reference, HostConfig; the Engine's documentation, "docker run", --security-opt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from drivers.errors import InvalidRequest
from drivers.execution.defaults import DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS
from supervisor.control.docker.body import HostConfig
from supervisor.isolation import UNCONFINED, apparmor_is_on
from supervisor.spec import DeviceMapping, Isolation, Ulimit

_BOOLEANS = {"": True, "1": True, "true": True, "0": False, "false": False}


def isolation_of(host: HostConfig) -> Isolation:
    """The isolation that is asked for. Raises InvalidRequest naming the option that is wrong."""
    security = _Security(
        masked_paths=_paths(host.masked_paths), readonly_paths=_paths(host.readonly_paths)
    )
    for option in host.security_opt or ():
        security.take(option)
    return Isolation(
        privileged=host.privileged,
        cap_add=tuple(host.cap_add or ()),
        cap_drop=tuple(host.cap_drop or ()),
        no_new_privs=security.no_new_privs,
        seccomp=security.seccomp,
        apparmor=security.apparmor,
        labels=tuple(security.labels),
        masked_paths=security.masked_paths,
        readonly_paths=security.readonly_paths,
        devices=tuple(
            DeviceMapping(
                source=device.path_on_host,
                target=device.path_in_container or device.path_on_host,
                access=device.cgroup_permissions,
            )
            for device in host.devices or ()
        ),
        device_cgroup_rules=tuple(host.device_cgroup_rules or ()),
        ulimits=tuple(
            Ulimit(name=limit.name.lower(), soft=limit.soft, hard=limit.hard)
            for limit in host.ulimits or ()
        ),
        sysctls=host.sysctls or {},
        init=bool(host.init),
        pid_mode=host.pid_mode,
        ipc_mode=host.ipc_mode,
        uts_mode=host.uts_mode,
        cgroupns_mode=host.cgroupns_mode,
        # Docker's own client lets nothing but "host" through as a mode
        userns_mode=host.userns_mode or security.userns,
        group_add=tuple(host.group_add or ()),
    )


def _paths(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


@dataclass
class _Security:
    """What the options of --security-opt say, the last one winning."""

    masked_paths: tuple[str, ...] | None
    readonly_paths: tuple[str, ...] | None
    no_new_privs: bool = False
    seccomp: str = ""
    apparmor: str = ""
    userns: str = ""
    labels: list[str] = field(default_factory=list)

    def take(self, option: str) -> None:
        """Take one. The sign between name and value may be a colon, as it once was."""
        name, value = (*re.split("=" if "=" in option else ":", option, maxsplit=1), "")[:2]
        if name == "no-new-privileges" and value.lower() in _BOOLEANS:
            self.no_new_privs = _BOOLEANS[value.lower()]
        elif name == option:
            raise InvalidRequest(f'invalid --security-opt 1: "{option}"', field="SecurityOpt")
        elif name == "seccomp":
            self.seccomp = value
        elif name == "apparmor":
            self.apparmor = value
        elif name == "userns":
            self.userns = value
        elif name == "label":
            self.labels.append(value)
        elif (name, value) == ("systempaths", UNCONFINED):
            self.masked_paths = self.readonly_paths = ()
        else:
            raise InvalidRequest(f'invalid --security-opt 2: "{option}"', field="SecurityOpt")


def shown(isolation: Isolation) -> dict[str, Any]:
    """The fields of HostConfig, as inspect shows them."""
    return {
        "CapAdd": list(isolation.cap_add) or None,
        "CapDrop": list(isolation.cap_drop) or None,
        "CgroupnsMode": isolation.cgroupns_mode or "private",
        "DeviceCgroupRules": list(isolation.device_cgroup_rules) or None,
        "Devices": [
            {
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.access,
            }
            for device in isolation.devices
        ],
        "GroupAdd": list(isolation.group_add) or None,
        "Init": isolation.init or None,
        "IpcMode": isolation.ipc_mode or "private",
        "MaskedPaths": _shown_paths(isolation, isolation.masked_paths, DEFAULT_MASKED_PATHS),
        "PidMode": isolation.pid_mode,
        "Privileged": isolation.privileged,
        "ReadonlyPaths": _shown_paths(isolation, isolation.readonly_paths, DEFAULT_READONLY_PATHS),
        "SecurityOpt": _security_options(isolation) or None,
        "Sysctls": isolation.sysctls or None,
        "UTSMode": isolation.uts_mode,
        "Ulimits": [
            {"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft}
            for limit in isolation.ulimits
        ],
        "UsernsMode": isolation.userns_mode,
    }


def _shown_paths(
    isolation: Isolation, asked: tuple[str, ...] | None, usual: tuple[str, ...]
) -> list[str] | None:
    if asked is not None:
        return list(asked)
    return None if isolation.privileged else list(usual)


def _security_options(isolation: Isolation) -> list[str]:
    found = ["no-new-privileges"] if isolation.no_new_privs else []
    for name, value in (("seccomp", isolation.seccomp), ("apparmor", isolation.apparmor)):
        if value:
            found.append(f"{name}={value}")
    return [*found, *(f"label={label}" for label in isolation.labels)]


def shown_apparmor(isolation: Isolation) -> str:
    """The field AppArmorProfile: empty where AppArmor is off."""
    return isolation.apparmor if apparmor_is_on() else ""
