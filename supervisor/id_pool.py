"""Ids of the host for containers: no two have the same, and a removed one's are free again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from drivers.errors import Conflict, InvalidRequest, NotFound
from supervisor.joining import FindNeighbour, Neighbour, check_same_ids, ids_of
from supervisor.spec import ContainerSpec, UserMap
from supervisor.userns import (
    AUTO,
    CONTAINER,
    HOST,
    KEEP_ID,
    MAP,
    RANGE,
    Caller,
    Lines,
    auto_size,
    check_together,
    checked,
    for_rootless,
    kept_ids,
    parse_map,
)

# Above what distributions give away (Source: systemd's UIDS-GIDS.md), below 2^31.
DEFAULT_START = 0x70000000
DEFAULT_SIZE = 4000 * RANGE


Span = tuple[int, int]  # from one id to before another


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Where containers' ids are taken from: `size` users and as many groups."""

    uid_start: int = DEFAULT_START
    gid_start: int = DEFAULT_START
    size: int = DEFAULT_SIZE


def _find_nobody(ref: str) -> Neighbour:
    raise NotFound(f"No such container: {ref}")


class UserMaps:
    """The maps of all containers. `default` is the mode of those that ask for none.

    They are kept with the containers: `take_up` tells of those that there are.
    """

    def __init__(
        self,
        pool: Pool,
        default: str = HOST,
        remapped: UserMap | None = None,
        *,
        rootless_ids: UserMap | None = None,
    ) -> None:
        self._rootless_ids = rootless_ids  # those that a rootless daemon itself has
        self._pool = pool
        self._default = default
        self._remapped = remapped  # shared by all containers that ask for nothing
        self._taken: dict[str, list[Span]] = {}  # by container; as places in the pool

    @contextlib.contextmanager
    def assigned(
        self, spec: ContainerSpec, caller: Caller, find: FindNeighbour = _find_nobody
    ) -> Iterator[ContainerSpec]:
        """The spec with its map, which is free again if the block fails.

        `find` finds the containers with which it shares namespaces. Raises InvalidRequest,
        Conflict if the pool has no more ids.
        """
        user_map = self._map_of(spec, caller, find)
        if user_map is None:
            yield spec
            return
        check_together(spec)
        if spec.unit is None:  # of a unit it is seen at its start
            check_same_ids(spec.isolation, user_map, find)
        mode = spec.isolation.userns_mode
        if mode.startswith(KEEP_ID) and not spec.user:
            uid, gid = kept_ids(mode, caller)
            spec = msgspec.structs.replace(spec, user=f"{uid}:{gid}")
        spec = msgspec.structs.replace(spec, user_map=user_map)
        self.take_up(spec)
        try:
            yield spec
        except BaseException:  # cancelled too: the ids are free again
            self.give_back(spec.id)
            raise

    def take_up(self, spec: ContainerSpec) -> None:
        """Note what a container has."""
        if spec.user_map is not None:
            pool = self._pool
            uids = _spans(spec.user_map.uids, pool.uid_start)
            self._taken[spec.id] = uids + _spans(spec.user_map.gids, pool.gid_start)

    def give_back(self, container_id: str) -> None:
        """Its ids are free again. Idempotent."""
        self._taken.pop(container_id, None)

    def _map_of(self, spec: ContainerSpec, caller: Caller, find: FindNeighbour) -> UserMap | None:
        mode = spec.isolation.userns_mode
        if mode.startswith(f"{CONTAINER}:"):
            return ids_of(mode, spec.isolation, find)
        if not mode and self._remapped is not None:
            return self._remapped
        mode = mode or self._default
        name = mode.partition(":")[0]
        if self._rootless_ids is not None and name != HOST:
            return for_rootless(mode, self._rootless_ids)
        if name == AUTO:
            size = auto_size(mode)
            uid_start, gid_start = self._free_range(size)
            return UserMap(uids=((0, uid_start, size),), gids=((0, gid_start, size),))
        if name == KEEP_ID:
            return self._keep(mode, caller)
        return parse_map(mode) if name == MAP else None

    def _free_range(self, size: int) -> tuple[int, int]:
        """Where as many users and groups in a row are nobody's: the first such place."""
        place = 0
        for start, end in sorted(span for spans in self._taken.values() for span in spans):
            if start - place >= size:
                break
            place = max(place, end)
        if place + size > self._pool.size:
            raise Conflict(
                f"no free range of user ids: {size} are asked for, and the pool has "
                f"{self._pool.size}: remove containers, or raise userns-pool-size"
            )
        return self._pool.uid_start + place, self._pool.gid_start + place

    def _keep(self, mode: str, caller: Caller) -> UserMap:
        if caller.uid == 0 or caller.gid == 0:
            raise InvalidRequest(
                f"userns mode {mode}: the caller is root, who is to have no rights on the host: "
                "use auto, or a map",
                field="UsernsMode",
            )
        (uid, gid), (uid_start, gid_start) = kept_ids(mode, caller), self._free_range(RANGE)
        return checked(
            UserMap(
                uids=_around(uid, caller.uid, uid_start), gids=_around(gid, caller.gid, gid_start)
            )
        )


def _around(kept: int, host_id: int, start: int) -> Lines:
    """A range in which one id is somebody's on the host. Raises InvalidRequest."""
    if kept >= RANGE:
        raise InvalidRequest(
            f"userns mode keep-id: id {kept} is above {RANGE - 1}: use keep-id:uid=ID,gid=ID",
            field="UsernsMode",
        )
    lines = (
        (0, start, kept),
        (kept, host_id, 1),
        (kept + 1, start + kept + 1, RANGE - kept - 1),
    )
    return tuple(line for line in lines if line[2])


def _spans(lines: Lines, start: int) -> list[Span]:
    """The places, of a pool that starts there, that a map takes."""
    return [
        (max(0, host - start), host + size - start)
        for _, host, size in lines
        if host + size > start
    ]
