"""Ids that the administrator has set aside for a user. Source: subuid(5), subgid(5)."""

from __future__ import annotations

from pathlib import Path

from drivers.errors import ConfigError
from drivers.execution.user import MAX_ID
from supervisor.config import DaemonConfig
from supervisor.id_pool import DEFAULT_SIZE, DEFAULT_START, Pool, UserMaps
from supervisor.spec import UserMap
from supervisor.userns import AUTO, HOST, RANGE, Lines

SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")
USER = "creche"  # whose ids are the pool, if it has any


def open_user_maps(
    config: DaemonConfig,
    *,
    rootless_ids: UserMap | None = None,
    subuid: Path = SUBUID,
    subgid: Path = SUBGID,
) -> UserMaps:
    """The maps as the settings say. Raises ConfigError.

    `rootless_ids` are those that the daemon of an ordinary user has.
    """
    pool = _checked(_pool(config, ranges_of(USER, subuid), ranges_of(USER, subgid)))
    remap = config.userns_remap
    if remap in ("", AUTO):
        return UserMaps(pool, remap or HOST, rootless_ids=rootless_ids)
    user, _, group = remap.partition(":")
    uids, gids = ranges_of(user, subuid), ranges_of(group or user, subgid)
    for name, found, path in ((user, uids, subuid), (group or user, gids, subgid)):
        if not found:
            raise ConfigError(f"userns-remap: {name} has no ids in {path}: add NAME:START:COUNT")
    remapped = UserMap(uids=_from_zero(uids), gids=_from_zero(gids))
    return UserMaps(pool, HOST, remapped, rootless_ids=rootless_ids)


def ranges_of(user: str, path: Path) -> list[tuple[int, int]]:
    """First id and count of each range of a user; none if the file is not there."""
    found = []
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    for line in text.splitlines():
        name, *numbers = line.strip().split(":")
        if name == user and len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            found.append((int(numbers[0]), int(numbers[1])))
    return found


def _checked(pool: Pool) -> Pool:
    last = max(pool.uid_start, pool.gid_start) + pool.size - 1
    if min(pool.uid_start, pool.gid_start) < 1 or last > MAX_ID:
        raise ConfigError(f"userns-pool-start, userns-pool-size: ids are 1-{MAX_ID}")
    if pool.size < RANGE:
        raise ConfigError(f"userns-pool-size: {pool.size} is less than the {RANGE} of a container")
    return pool


def _pool(config: DaemonConfig, uids: list[tuple[int, int]], gids: list[tuple[int, int]]) -> Pool:
    """What the settings say, else the first range of our own user, else the default."""
    if config.userns_pool_start:
        start = config.userns_pool_start
        return Pool(uid_start=start, gid_start=start, size=config.userns_pool_size or DEFAULT_SIZE)
    if not uids or not gids:
        size = config.userns_pool_size or DEFAULT_SIZE
        return Pool(uid_start=DEFAULT_START, gid_start=DEFAULT_START, size=size)
    (uid_start, uid_count), (gid_start, gid_count) = uids[0], gids[0]
    size = min(uid_count, gid_count, config.userns_pool_size or uid_count)
    return Pool(uid_start=uid_start, gid_start=gid_start, size=size)


def _from_zero(ranges: list[tuple[int, int]]) -> Lines:
    """The ranges one after the other in the container."""
    lines, first = [], 0
    for start, size in ranges:
        lines.append((first, start, size))
        first += size
    return tuple(lines)
