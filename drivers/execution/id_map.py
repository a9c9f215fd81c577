"""The ids of a user namespace, as the kernel wants them and as the host sees them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from drivers.errors import DriverError, InvalidRequest, Unsupported
from drivers.execution.base import IdMap, IdRange
from drivers.execution.user import MAX_ID
from drivers.keeper.plan import ProcessPlan
from drivers.kernel.user_namespace import new_user_namespace

_NO_MORE = (errno.ENOSPC, errno.EUSERS)


def map_text(ranges: Iterable[IdRange]) -> str:
    """The ranges as /proc/PID/uid_map takes them."""
    return "".join(f"{ids.container_id} {ids.host_id} {ids.size}\n" for ids in ranges)


def to_host(ranges: Iterable[IdRange], container_id: int) -> int | None:
    """What the host calls an id of the container; None if it has no such id."""
    for ids in ranges:
        if 0 <= container_id - ids.container_id < ids.size:
            return ids.host_id + container_id - ids.container_id
    return None


def check_ids(id_map: IdMap) -> None:
    """Raise InvalidRequest for a number that is no id: the kernel would cut it off at 32 bits."""
    for ids in (*id_map.uids, *id_map.gids):
        first = min(ids.container_id, ids.host_id)
        last = max(ids.container_id, ids.host_id) + ids.size - 1
        if first < 0 or ids.size < 1 or last > MAX_ID:
            line = f"{ids.container_id}:{ids.host_id}:{ids.size}"
            raise InvalidRequest(
                f"user namespace: invalid map {line}: ids are 0-{MAX_ID}", field="UsernsMode"
            )


def root_of(id_map: IdMap) -> tuple[int, int]:
    """The user and the group that are 0 in the container, as the host sees them.

    Raises InvalidRequest if there is none.
    """
    uid, gid = to_host(id_map.uids, 0), to_host(id_map.gids, 0)
    if uid is None or gid is None:
        raise InvalidRequest("user namespace: id 0 is not mapped", field="UsernsMode")
    return uid, gid


def check_mapped(id_map: IdMap, uid: int, gids: Iterable[int]) -> None:
    """Raise InvalidRequest for a user or group of a process that the container does not have."""
    if to_host(id_map.uids, uid) is None:
        raise InvalidRequest(f"user id {uid} is not mapped in the user namespace", field="User")
    for gid in gids:
        if to_host(id_map.gids, gid) is None:
            raise InvalidRequest(
                f"group id {gid} is not mapped in the user namespace", field="User"
            )


def give_streams(id_map: IdMap, plan: ProcessPlan, stdio: Iterable[int]) -> None:
    """Let the process's user own its pipes and its terminal, and so open them again.

    It cannot have that done in there: what is the host's is nobody's in a user namespace.
    """
    owner = to_host(id_map.uids, plan.uid)
    for fd, is_own in zip(stdio, plan.own_streams, strict=True):
        if is_own and owner is not None:
            os.fchown(fd, owner, -1)


def open_user_namespace(id_map: IdMap) -> int:
    """A descriptor of a user namespace with these ids, for mounts; blocking.

    Raises Unsupported if this host has none to give, InvalidRequest, DriverError.
    """
    check_ids(id_map)
    try:
        return new_user_namespace(map_text(id_map.uids), map_text(id_map.gids))
    except OSError as error:
        raise explain(error.errno or 0, f"{map_text(id_map.uids).strip()!r}") from error


def explain(number: int, about: str) -> DriverError:
    """Why there is no user namespace: errno of its making, or of writing its maps."""
    cause = os.strerror(number).lower()
    if number in _NO_MORE:
        return Unsupported(
            f"user namespace: {cause}: `sysctl user.max_user_namespaces` is the limit of this host"
        )
    if not about:
        return Unsupported(
            f"user namespace: {cause}: the kernel must have them (CONFIG_USER_NS), and whoever "
            "starts the daemon must allow them"
        )
    return DriverError(f"user namespace {about}: {cause}")
