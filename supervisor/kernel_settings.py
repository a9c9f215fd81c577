"""Resource limits and kernel parameters that a container may ask for.

Sources: getrlimit(2); sysctl(8); namespaces(7), what belongs to the IPC, network and UTS ones.
"""

from __future__ import annotations

import re

from drivers.errors import InvalidRequest
from supervisor.spec import Isolation, Ulimit

ULIMITS = frozenset(
    """as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending
    stack""".split()  # noqa: SIM905
)
_UNLIMITED = -1
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni",
                 "shm_rmid_forced")
)  # fmt: skip
# No part begins with a slash, which would be a dot: none is "..".
_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_:@-][A-Za-z0-9_/:@-]*)+")
_SWAP = str.maketrans("./", "/.")


def check_ulimits(ulimits: tuple[Ulimit, ...]) -> None:
    """Raise InvalidRequest naming a limit that makes no sense."""
    for limit in ulimits:
        soft, hard = limit.soft, limit.hard
        if limit.name not in ULIMITS:
            raise InvalidRequest(f"invalid ulimit type: {limit.name}", field="Ulimits")
        if min(soft, hard) < _UNLIMITED:
            raise InvalidRequest(
                f"invalid ulimit {limit.name}: {min(soft, hard)} is negative (-1 is unlimited)",
                field="Ulimits",
            )
        if hard != _UNLIMITED and (soft == _UNLIMITED or soft > hard):
            raise InvalidRequest(
                f"invalid ulimit {limit.name}: soft limit must be less than or equal to hard "
                f"limit: {soft} > {hard}",
                field="Ulimits",
            )


def sysctls_of(isolation: Isolation, *, host_network: bool) -> tuple[tuple[str, str], ...]:
    """The parameters with dots between their parts; a slash in a part stands for a dot there.

    Raises InvalidRequest, in runc's words, for one that is not the container's own.
    """
    found: dict[str, str] = {}
    for asked, value in isolation.sysctls.items():
        name = _with_dots(asked)
        reason = _refusal(name, isolation, host_network=host_network)
        if reason:
            raise InvalidRequest(f'sysctl "{asked}" {reason}', field="Sysctls")
        if "\0" in value:
            raise InvalidRequest(f'sysctl "{asked}" has a NUL character', field="Sysctls")
        found[name] = value
    return tuple(found.items())


def _with_dots(name: str) -> str:
    """As sysctl(8): the first separator tells which one it is."""
    separator = re.search(r"[./]", name)
    return name.translate(_SWAP) if separator and separator[0] == "/" else name


def _refusal(name: str, isolation: Isolation, *, host_network: bool) -> str:
    """Why a parameter cannot be set, or "" if it can."""
    if not _NAME.fullmatch(name):
        return "is no name of a kernel parameter"
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        shared = isolation.ipc_mode == "host"
        return "is not allowed in the hosts ipc namespace" if shared else ""
    if name.startswith("net."):
        return "not allowed in host network namespace" if host_network else ""
    if name == "kernel.domainname":
        shared = isolation.uts_mode == "host"
        return "is not allowed in the hosts uts namespace" if shared else ""
    if name == "kernel.hostname":
        return "is not allowed as it conflicts with the hostname: use --hostname"
    return "is not in a separate kernel namespace"
