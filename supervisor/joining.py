"""Namespaces that a container shares: with the host, or with another container.

Words and errors are Docker's for --pid, --ipc, --uts and --cgroupns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec

from drivers.errors import Conflict, InvalidRequest, NotFound, from_os_error
from drivers.execution.base import MountAt, Namespace
from drivers.kernel import mount
from drivers.kernel.namespace import clone_mount_in, pidfd_of
from supervisor.isolation import CONTAINER
from supervisor.spec import ContainerSpec, Isolation, UserMap

SHM = "/dev/shm"
_SHAREABLE = frozenset({"shareable", "host"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another container as far as one that joins it needs to know."""

    id: str
    pid: int  # 0 if it is not running
    start_time_ticks: int
    ipc_mode: str
    user_map: UserMap | None = None


FindNeighbour = Callable[[str], Neighbour]  # by name or id; raises NotFound, InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What is shared, as `Command` wants it."""

    pid: Namespace = "new"
    ipc: Namespace = "new"
    uts: Namespace = "new"
    cgroup: Namespace = "new"
    user: Namespace = "new"
    mounts: tuple[MountAt, ...] = ()
    own_shm: bool = True  # a /dev/shm of its own


def shares_pids(isolation: Isolation) -> bool:
    """Whether its first process is not number 1."""
    return isolation.pid_mode not in ("", "private")


def join(
    isolation: Isolation, find: FindNeighbour, held: ExitStack, user_map: UserMap | None = None
) -> Joined:
    """Open what `isolation` shares; `held` closes it. Blocking.

    Who has ids of its own shares the user namespace too, for it owns the others. Raises Conflict,
    in Docker's words, if the other container is not running or does not share; InvalidRequest.
    """
    if user_map is not None:
        check_same_ids(isolation, user_map, find)
    ipc, mounts = _ipc(isolation.ipc_mode, find, held)
    pid = _pid(isolation.pid_mode, find, held)
    return Joined(
        pid=pid,
        user="new" if user_map is None else pid,
        ipc=ipc,
        uts=_host_or_new(isolation.uts_mode),
        cgroup=_host_or_new(isolation.cgroupns_mode),
        mounts=mounts,
        own_shm=isolation.ipc_mode in ("", "private", "shareable"),
    )


def check_same_ids(isolation: Isolation, user_map: UserMap, find: FindNeighbour) -> None:
    """Raise InvalidRequest if a container with these ids cannot share what it is to share.

    The kernel lets only those in one user namespace do so, and a new pid namespace would not
    belong to that.
    """
    for name, mode in (("PID", isolation.pid_mode), ("IPC", isolation.ipc_mode)):
        if not mode.startswith(CONTAINER):
            continue
        neighbour = find(mode.removeprefix(CONTAINER))
        if neighbour.user_map != user_map:
            raise InvalidRequest(
                f"cannot share the {name} namespace of container {neighbour.id}: it has other "
                f"ids: use --userns container:{neighbour.id}",
                field="UsernsMode",
            )
        if mode != isolation.pid_mode:
            raise InvalidRequest(
                f"cannot share the IPC namespace of container {neighbour.id} without its PID "
                "namespace when user namespaces are enabled",
                field="IpcMode",
            )


def ids_of(mode: str, isolation: Isolation, find: FindNeighbour) -> UserMap:
    """The ids of the container whose user namespace is to be shared.

    Raises InvalidRequest if it has none, or its pid namespace is not shared.
    """
    neighbour = find(mode.removeprefix(CONTAINER))
    if neighbour.user_map is None:
        raise InvalidRequest(
            f"userns mode {mode}: container {neighbour.id} has no user namespace of its own",
            field="UsernsMode",
        )
    if isolation.pid_mode != mode:
        raise InvalidRequest(
            f"userns mode {mode}: its PID namespace must be shared too: use --pid {mode}",
            field="UsernsMode",
        )
    return neighbour.user_map


def _host_or_new(mode: str) -> Namespace:
    return "host" if mode == "host" else "new"


def _pid(mode: str, find: FindNeighbour, held: ExitStack) -> Namespace:
    if not mode.startswith(CONTAINER):
        return _host_or_new(mode)
    neighbour = find(mode.removeprefix(CONTAINER))
    return _open(neighbour, "", held)


def _ipc(mode: str, find: FindNeighbour, held: ExitStack) -> tuple[Namespace, tuple[MountAt, ...]]:
    """The namespace, and its /dev/shm, which goes with it."""
    if mode == "host":
        return "host", _shm(lambda: mount.open_tree_clone(SHM), "the host", held)
    if not mode.startswith(CONTAINER):
        return "new", ()
    neighbour = find(mode.removeprefix(CONTAINER))
    fd = _open(neighbour, f"can't join IPC of container {neighbour.id}: ", held)
    if neighbour.ipc_mode not in _SHAREABLE:
        raise Conflict(
            f"can't join IPC of container {neighbour.id}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )
    return fd, _shm(lambda: clone_mount_in(fd, SHM), f"container {neighbour.id}", held)


def _open(neighbour: Neighbour, prefix: str, held: ExitStack) -> int:
    """A pidfd of a running container's first process."""
    try:
        if not neighbour.pid:
            raise ProcessLookupError
        fd = pidfd_of(neighbour.pid, neighbour.start_time_ticks)
    except ProcessLookupError as error:
        raise Conflict(f"{prefix}container {neighbour.id} is not running") from error
    held.callback(os.close, fd)
    return fd


def _shm(clone: Callable[[], int], whose: str, held: ExitStack) -> tuple[MountAt, ...]:
    try:
        fd = clone()
    except OSError as error:
        raise from_os_error(error, f"share {SHM} of {whose}") from error
    held.callback(os.close, fd)
    return (MountAt(fd=fd, target=SHM),)


def with_ids(spec: ContainerSpec, find: FindNeighbour) -> ContainerSpec:
    """The spec with the ids of the containers that it joins, for they may be renamed.

    A unit keeps the name: the container behind it may be made later, or anew. Raises
    InvalidRequest, in Docker's words, if there is no such container.
    """
    if spec.unit is not None:
        return spec
    isolation = spec.isolation
    changes = {}
    for attribute in ("pid_mode", "ipc_mode", "userns_mode"):
        mode: str = getattr(isolation, attribute)
        if mode.startswith(CONTAINER):
            try:
                changes[attribute] = CONTAINER + find(mode.removeprefix(CONTAINER)).id
            except NotFound as error:
                raise InvalidRequest(str(error)) from error
    if not changes:
        return spec
    return msgspec.structs.replace(spec, isolation=msgspec.structs.replace(isolation, **changes))
