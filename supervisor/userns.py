"""User namespaces, as `--userns` asks for them: checks, and maps of ids.

`host` is none, `auto` a private range of ids (`auto:size=N` of another size), `keep-id` the same
but for the caller's own id, `container:NAME` another container's, as podman has them;
`map:uid=C:H:N,gid=C:H:N` is what it says: N ids from C in the container are those from H on the
host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from drivers.errors import InvalidRequest
from drivers.execution.base import IdMap, IdRange
from drivers.execution.user import MAX_ID
from supervisor.spec import ContainerSpec, UserMap

HOST, AUTO, KEEP_ID, MAP, CONTAINER = "host", "auto", "keep-id", "map", "container"
RANGE = 65536  # ids that a container has

_MAX_LINES = 340  # Linux 4.15; before that 5
_NUMBER = r"[0-9]{1,10}"
_LINE = re.compile(rf"(?P<kind>uid|gid)=(?P<ids>{_NUMBER}:{_NUMBER}:{_NUMBER})")
_SIZE = re.compile(rf"{AUTO}:size=(?P<size>{_NUMBER})")
_KEPT = re.compile(rf"(?P<kind>uid|gid)=(?P<id>{_NUMBER})")

Lines = tuple[tuple[int, int, int], ...]  # first id in the container, first on the host, how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks for a container."""

    uid: int = 0
    gid: int = 0


def check_mode(mode: str) -> None:
    """Raise InvalidRequest, in Docker's words where it has them, for what is no mode."""
    name, _, rest = mode.partition(":")
    if name == MAP:
        parse_map(mode)
    elif name == KEEP_ID:
        kept_ids(mode, Caller())
    elif name == AUTO:
        auto_size(mode)
    elif name == CONTAINER and rest:
        pass
    elif name not in ("", HOST) or rest or mode.endswith(":"):
        raise _wrong(f"invalid userns mode: {mode}")


def parse_map(mode: str) -> UserMap:
    """The map of `map:uid=0:100000:65536,...`; groups are as users if there are none.

    Raises InvalidRequest naming what is wrong.
    """
    found: dict[str, list[tuple[int, int, int]]] = {"uid": [], "gid": []}
    for part in mode.removeprefix(f"{MAP}:").split(","):
        line = _LINE.fullmatch(part)
        if line is None:
            raise _wrong(f"invalid userns map {part!r}: not uid=CONTAINER:HOST:SIZE, nor gid=")
        first, host, size = map(int, line["ids"].split(":"))
        found[line["kind"]].append((first, host, size))
    uids, gids = tuple(found["uid"]), tuple(found["gid"])
    return checked(UserMap(uids=uids, gids=gids or uids))


def checked(user_map: UserMap) -> UserMap:
    """The map. Raises InvalidRequest for one that no kernel takes, or in which nobody is root."""
    for kind, lines in (("uid", user_map.uids), ("gid", user_map.gids)):
        for line in lines:
            first, host, size = line
            if size < 1 or max(first, host) + size - 1 > MAX_ID:
                raise _wrong(f"invalid userns map {kind}={_shown(line)}: ids are 0-{MAX_ID}")
        for index, name in ((0, "container"), (1, "host")):
            _check_apart(kind, name, [(line[index], line[2], line) for line in lines])
        if not any(first == 0 for first, _, _ in lines):
            raise _wrong(f"invalid userns map: {kind} 0 of the container is not in it")
        if len(lines) > _MAX_LINES:
            raise _wrong(f"invalid userns map: more than {_MAX_LINES} lines of {kind}s")
    return user_map


def _check_apart(kind: str, name: str, lines: list[tuple[int, int, tuple[int, int, int]]]) -> None:
    end, before = 0, ""
    for first, size, line in sorted(lines):
        if first < end:
            raise _wrong(
                f"invalid userns map {kind}={_shown(line)}: ids of the {name} are in {before} too"
            )
        end, before = first + size, _shown(line)


def _shown(line: tuple[int, int, int]) -> str:
    return ":".join(map(str, line))


def auto_size(mode: str) -> int:
    """How many ids `auto` and `auto:size=N` ask for. Raises InvalidRequest."""
    if mode == AUTO:
        return RANGE
    found = _SIZE.fullmatch(mode)
    if found is None or not 1 <= int(found["size"]) <= MAX_ID:
        raise _wrong(f"invalid userns mode: {mode}: not auto:size=N, with N from 1 to {MAX_ID}")
    return int(found["size"])


def kept_ids(mode: str, caller: Caller) -> tuple[int, int]:
    """What the caller is in the container: `keep-id`, or `keep-id:uid=1000,gid=1000`.

    Raises InvalidRequest.
    """
    ids = {"uid": caller.uid, "gid": caller.gid}
    options = mode.removeprefix(KEEP_ID)
    for option in options.removeprefix(":").split(",") if options else ():
        found = _KEPT.fullmatch(option)
        if found is None or int(found["id"]) >= RANGE:
            raise _wrong(f"invalid userns mode: {mode}: {option!r} is not uid=ID or gid=ID")
        ids[found["kind"]] = int(found["id"])
    return ids["uid"], ids["gid"]


def check_together(spec: ContainerSpec) -> None:
    """Raise InvalidRequest for what cannot be in a user namespace, in Docker's words if it has any.

    What belongs to the host's user namespace cannot be had from another one.
    """
    isolation = spec.isolation
    if isolation.privileged:
        raise _wrong(
            "privileged mode is incompatible with user namespaces. You must run the container in "
            "the host namespace when running privileged mode"
        )
    shared = {
        "network": "host" if spec.network == "host" else "",
        "PID": isolation.pid_mode,
        "IPC": isolation.ipc_mode,
        "cgroup": isolation.cgroupns_mode,
    }
    for name, mode in shared.items():
        if mode == "host":
            raise _wrong(
                f"cannot share the host's {name} namespace when user namespaces are enabled"
            )


def changes_ids(user_map: UserMap) -> bool:
    """Whether an id of the container is another one on the host: files are to be shown so."""
    return any(first != host for first, host, _ in (*user_map.uids, *user_map.gids))


def for_rootless(mode: str, own: UserMap) -> UserMap:
    """The map of a mode within the ids that a rootless daemon has, of which `own` is the map.

    Raises InvalidRequest for what cannot be: the file system with its layers is mounted by the
    host, so no kernel lets it show that through other ids. Source: mount_setattr(2), EPERM.
    """
    user_map = parse_map(mode) if mode.partition(":")[0] == MAP else None
    if user_map is None or changes_ids(user_map):
        raise _wrong(
            f"userns mode {mode}: a rootless daemon cannot show files by other ids: use host, or "
            "a map of ids to themselves, such as map:uid=0:0:1000"
        )
    return UserMap(
        uids=_divided("uid", user_map.uids, own.uids), gids=_divided("gid", user_map.gids, own.gids)
    )


def _divided(kind: str, lines: Lines, own: Lines) -> Lines:
    """The lines so that each is within one of `own`, as the kernel wants it."""
    found = []
    for first, _, size in lines:
        for start, _, count in own:
            low, high = max(first, start), min(first + size, start + count)
            if low < high:
                found.append((low, low, high - low))
    missing = sum(line[2] for line in lines) - sum(line[2] for line in found)
    if missing:
        raise _wrong(f"invalid userns map: {missing} {kind}s in it are not of this daemon")
    return tuple(found)


def to_driver(user_map: UserMap | None) -> IdMap | None:
    """The map as drivers have it."""
    if user_map is None:
        return None
    return IdMap(uids=_ranges(user_map.uids), gids=_ranges(user_map.gids))


def _ranges(lines: Lines) -> tuple[IdRange, ...]:
    return tuple(IdRange(container_id=c, host_id=h, size=n) for c, h, n in lines)


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, field="UsernsMode")
