"""From the options of isolation to the fields of HostConfig."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from supervisor.cli.errors import CliError, Exit

_ACCESS = re.compile(r"[rwm]{1,3}")
_KEYWORDS = frozenset({"", "unconfined", "builtin"})
_ULIMIT = re.compile(r"(?P<name>[^=]+)=(?P<soft>-?[0-9]{1,19})(?::(?P<hard>-?[0-9]{1,19}))?")


def isolation_config(args: Namespace) -> dict[str, Any]:
    """The fields. Raises CliError naming the option that makes no sense."""
    return {
        "Privileged": args.privileged,
        "CapAdd": args.cap_add or None,
        "CapDrop": args.cap_drop or None,
        "SecurityOpt": [security_option(text) for text in args.security_opt] or None,
        "Devices": [device(text) for text in args.device] or None,
        "DeviceCgroupRules": args.device_cgroup_rule or None,
        "Ulimits": [ulimit(text) for text in args.ulimit] or None,
        "Sysctls": dict(sysctl(text) for text in args.sysctl) or None,
        "Init": args.init or None,
        "GroupAdd": args.group_add or None,
        "PidMode": args.pid,
        "IpcMode": args.ipc,
        "UTSMode": args.uts,
        "CgroupnsMode": args.cgroupns,
        "UsernsMode": args.userns,
    }


def _wrong(message: str) -> CliError:
    return CliError(message, code=Exit.DAEMON)


def security_option(text: str) -> str:
    """The option; a profile of system calls is sent instead of the name of its file."""
    name, sign, value = text.partition("=")
    if name != "seccomp" or not sign or value in _KEYWORDS:
        return text
    try:
        return f"seccomp={Path(value).read_text()}"
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"--security-opt {text}: {error}") from error


def device(text: str) -> dict[str, str]:
    """HOST[:CONTAINER[:ACCESS]], or HOST:ACCESS."""
    source, *rest = text.split(":")
    if len(rest) == 1 and _ACCESS.fullmatch(rest[0]):
        rest = [source, rest[0]]
    if len(rest) > 2 or not source:
        raise _wrong(f"--device {text}: not HOST[:CONTAINER[:ACCESS]]")
    target, access = (*rest, *(source, "rwm")[len(rest) :])
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": access}


def ulimit(text: str) -> dict[str, Any]:
    """`nofile=1024:2048`; one number is both."""
    found = _ULIMIT.fullmatch(text)
    if found is None:
        raise _wrong(f"--ulimit {text}: not NAME=SOFT[:HARD]")
    soft = int(found["soft"])
    hard = soft if found["hard"] is None else int(found["hard"])
    return {"Name": found["name"], "Soft": soft, "Hard": hard}


def sysctl(text: str) -> tuple[str, str]:
    """`net.ipv4.ip_forward=1`"""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise _wrong(f"--sysctl {text}: not NAME=VALUE")
    return name, value
