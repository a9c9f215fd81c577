"""The keys of a unit that say how its container is kept apart from the host."""

from __future__ import annotations

import re
from pathlib import Path

from drivers.errors import InvalidRequest
from drivers.execution.seccomp_profile import parse_profile
from supervisor.isolation import BUILTIN, UNCONFINED
from supervisor.spec import DeviceMapping, Isolation, Ulimit
from supervisor.unit_tables import UlimitTable, UnitTable

# The key of what a check names as Docker does.
KEYS = {
    "CapAdd": "cap_add",
    "CapDrop": "cap_drop",
    "Devices": "devices",
    "DeviceCgroupRules": "device_cgroup_rules",
    "Ulimits": "ulimits",
    "Sysctls": "sysctls",
    "PidMode": "pid",
    "IpcMode": "ipc",
    "UTSMode": "uts",
    "CgroupnsMode": "cgroupns",
    "UsernsMode": "userns",
    "Hostname": "hostname",
    "OomScoreAdj": "oom_score_adj",
    "SecurityOpt": "seccomp",
}
_ACCESS = re.compile(r"[rwm]{1,3}")


def isolation_of(table: UnitTable) -> Isolation:
    """The isolation of a unit; a profile is read from its file.

    Raises InvalidRequest, whose `field` is Docker's name of what is wrong.
    """
    return Isolation(
        privileged=table.privileged,
        cap_add=tuple(table.cap_add),
        cap_drop=tuple(table.cap_drop),
        no_new_privs=table.no_new_privs,
        seccomp=_profile(table.seccomp),
        apparmor=table.apparmor,
        masked_paths=() if table.system_paths else None,
        readonly_paths=() if table.system_paths else None,
        devices=tuple(_device(text) for text in table.devices),
        device_cgroup_rules=tuple(table.device_cgroup_rules),
        ulimits=tuple(_ulimit(name, value) for name, value in table.ulimits.items()),
        sysctls={name: str(value) for name, value in table.sysctls.items()},
        init=table.init,
        pid_mode=table.pid,
        ipc_mode=table.ipc,
        uts_mode=table.uts,
        cgroupns_mode=table.cgroupns,
        userns_mode=table.userns,
        group_add=tuple(str(group) for group in table.group_add),
    )


def _profile(value: str) -> str:
    """ "builtin", "unconfined", or the text of a file, checked now."""
    if value in ("", BUILTIN, UNCONFINED):
        return value
    if not value.startswith("/"):
        raise InvalidRequest(
            f"{value!r} is neither {BUILTIN}, {UNCONFINED} nor the absolute path of a profile",
            field="SecurityOpt",
        )
    try:
        text = Path(value).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{value} cannot be read: {error}", field="SecurityOpt") from error
    parse_profile(text)
    return text


def _device(text: str) -> DeviceMapping:
    """HOST[:CONTAINER[:ACCESS]], or HOST:ACCESS."""
    source, *rest = text.split(":")
    if len(rest) == 1 and _ACCESS.fullmatch(rest[0]):
        rest = [source, rest[0]]
    if len(rest) > 2:
        raise InvalidRequest(f"{text!r} is not HOST[:CONTAINER[:ACCESS]]", field="Devices")
    target, access = (*rest, *(source, "rwm")[len(rest) :])
    return DeviceMapping(source=source, target=target, access=access)


def _ulimit(name: str, value: int | UlimitTable) -> Ulimit:
    if isinstance(value, UlimitTable):
        return Ulimit(name=name, soft=value.soft, hard=value.hard)
    return Ulimit(name=name, soft=value, hard=value)
