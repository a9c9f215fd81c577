"""Who a command runs as, looked up in the container's own files, never through the host's NSS."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.errors import InvalidRequest
from drivers.kernel.path import openat2

MAX_ID = 2**31 - 1
_FILE_BYTES = 4 * 1024 * 1024  # an image's passwd or group file beyond that is hostile


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Numeric ids for setresuid(2), setresgid(2), setgroups(2); the home directory."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def look_up(root_fd: int, user: str, group_add: tuple[str, ...] = ()) -> Identity:
    """Resolve `user` ("", "name", "uid", "name:group", "uid:gid") in the root's passwd and group.

    Raises InvalidRequest for a name without an entry, and an id outside 0 to 2^31 - 1.
    """
    name, colon, group = user.partition(":")
    entry = _find(root_fd, "etc/passwd", name or "0", fields=4)
    if entry is not None:
        uid, gid = _number(entry[2], "uid"), _number(entry[3], "gid")
    elif name.lstrip("+-").isdigit():
        uid, gid = _number(name, "uid"), 0
    elif not name:
        uid, gid = 0, 0
    else:
        raise InvalidRequest(f"unable to find user {name}: no matching entries in passwd file")
    groups: tuple[int, ...] = ()
    if colon:
        gid = _group(root_fd, group)
    elif entry is not None:
        groups = tuple(_memberships(root_fd, entry[0]))
    added = tuple(_group(root_fd, extra) for extra in group_add)
    home = entry[5] if entry is not None and len(entry) > 5 and entry[5] else "/"
    # the primary group too: else a file that denies it access is opened to "others"
    unique = dict.fromkeys((gid, *groups, *added))
    return Identity(uid=uid, gid=gid, groups=tuple(unique), home=home)


def _group(root_fd: int, name: str) -> int:
    entry = _find(root_fd, "etc/group", name, fields=3)
    if entry is not None:
        return _number(entry[2], "gid")
    if name.lstrip("+-").isdigit():
        return _number(name, "gid")
    raise InvalidRequest(f"unable to find group {name}: no matching entries in group file")


def _memberships(root_fd: int, user: str) -> Iterator[int]:
    """The groups that list the user as a member."""
    for entry in _entries(root_fd, "etc/group"):
        if len(entry) > 3 and user in entry[3].split(","):
            yield _number(entry[2], "gid")


def _find(root_fd: int, path: str, key: str, *, fields: int) -> list[str] | None:
    """The first entry whose name is `key`, or whose number is."""
    for entry in _entries(root_fd, path):
        if len(entry) >= fields and key in (entry[0], entry[2]):
            return entry
    return None


def _entries(root_fd: int, path: str) -> Iterator[list[str]]:
    try:
        fd = openat2(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return  # an image without such a file has no names
    try:
        found = os.fstat(fd)
        size = min(found.st_size, _FILE_BYTES)
        data = os.pread(fd, size, 0) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(fd)
    text = data.decode(errors="surrogateescape")
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            yield line.split(":")


def _number(text: str, what: str) -> int:
    digits = text.lstrip("0") or "0"
    if not (text.isascii() and text.isdecimal()) or len(digits) > 10 or int(digits) > MAX_ID:
        raise InvalidRequest(f"{what}s must be in range 0-{MAX_ID}: {text!r} is not", field="User")
    return int(text)
