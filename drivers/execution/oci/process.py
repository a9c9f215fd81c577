"""The `process` object of an OCI configuration. Source: OCI runtime specification, config.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drivers.errors import InvalidRequest
from drivers.execution.base import Command, Process, Rlimit, WindowSize
from drivers.execution.defaults import ALL_CAPABILITIES
from drivers.execution.user import Identity
from drivers.kernel.capabilities import NUMBER_OF

_UNLIMITED = 2**64 - 1  # RLIM_INFINITY


def main_process(command: Command, identity: Identity, *, last_capability: int) -> dict[str, Any]:
    """The container's first process, for a kernel whose highest capability is `last_capability`."""
    return {
        **_program(command, identity),
        **_privileges(command, command.capabilities, identity, last_capability),
        "noNewPrivileges": command.no_new_privs,
    }


def further_process(
    process: Process, container: Command, identity: Identity, *, last_capability: int
) -> dict[str, Any]:
    """One more process of a container: what it does not say is as in the container."""
    capabilities = ALL_CAPABILITIES if process.privileged else container.capabilities
    return {
        **_program(process, identity),
        **_privileges(container, capabilities, identity, last_capability),
        "noNewPrivileges": process.no_new_privs or container.no_new_privs,
    }


def _program(program: Command | Process, identity: Identity) -> dict[str, Any]:
    env = list(program.env)
    if not any(item.startswith("HOME=") for item in env):
        env.append(f"HOME={identity.home}")
    found: dict[str, Any] = {
        "terminal": program.terminal is not None,
        "user": {
            "uid": identity.uid,
            "gid": identity.gid,
            "additionalGids": list(identity.groups),
        },
        "args": [_text(argument) for argument in program.argv],
        "env": [_text(item) for item in env],
        "cwd": _text(program.cwd or "/"),
    }
    if program.terminal is not None and program.terminal != WindowSize():
        found["consoleSize"] = {
            "height": program.terminal.rows,
            "width": program.terminal.columns,
        }
    return found


def _privileges(
    container: Command, capabilities: Iterable[str], identity: Identity, last_capability: int
) -> dict[str, Any]:
    """A user other than root has the capabilities in the bounding set only, as Docker has it."""
    known = sorted(name for name in capabilities if NUMBER_OF[name] <= last_capability)
    held = known if identity.uid == 0 else []
    found: dict[str, Any] = {
        "capabilities": {
            "bounding": known,
            "permitted": held,
            "effective": held,
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": [_rlimit(limit) for limit in container.rlimits],
    }
    if container.apparmor:
        found["apparmorProfile"] = container.apparmor
    if container.oom_score_adj is not None:
        found["oomScoreAdj"] = container.oom_score_adj
    return found


def _rlimit(limit: Rlimit) -> dict[str, Any]:
    return {
        "type": f"RLIMIT_{limit.name.upper()}",
        "soft": _UNLIMITED if limit.soft < 0 else limit.soft,
        "hard": _UNLIMITED if limit.hard < 0 else limit.hard,
    }


def _text(value: str) -> str:
    """`value` if JSON can carry it: a runtime would make something else of other bytes."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"no UTF-8, which this runtime needs: {value!r}") from error
    return value
