"""What the upper directory of an overlay says about those below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drivers.kernel.user_namespace import in_user_namespace
from drivers.storage.base import Change, ChangeKind
from drivers.storage.differ import differs, entries


def opaque_xattr() -> str:
    """Who is root of a user namespace only may not set the usual one.

    Source: overlayfs.rst, "userxattr"; Linux 5.11.
    """
    return f"{'user' if in_user_namespace() else 'trusted'}.overlay.opaque"


def upper_changes(upper: Path, lower: list[Path]) -> Iterator[Change]:
    """The changes below `upper`, which is over the `lower` directories, the nearest first.

    In any order. Raises OSError for what is deeper than a path can be.
    """
    left = [_Both(upper, lower, "", hides=False)]
    while left:
        yield from _changes(left.pop(), left)


@dataclass(frozen=True, slots=True)
class _Both:
    """A directory and those that it is over; `hides` if nothing of those is seen.

    It was removed then, and `upper` made anew.
    """

    upper: Path
    lower: list[Path]
    path: str
    hides: bool


def _changes(both: _Both, left: list[_Both]) -> Iterator[Change]:
    """Those in one directory; what is below goes to `left`."""
    upper, lower, prefix = both.upper, both.lower, both.path
    hides = both.hides or _is_opaque(upper)
    above, below = entries(upper), _merged(lower)
    for name, found in above.items():
        path, before = f"{prefix}/{name}", below.get(name)
        if _is_whiteout(found):
            yield Change(path, ChangeKind.DELETED)
            continue
        if before is None:
            yield Change(path, ChangeKind.ADDED)
        elif differs(found, before):
            yield Change(path, ChangeKind.MODIFIED)
        if stat.S_ISDIR(found.st_mode):
            left.append(_Both(upper / name, _below(lower, name), path, hides))
    for name in below.keys() - above.keys() if hides else ():
        yield Change(f"{prefix}/{name}", ChangeKind.DELETED)


def _merged(lower: list[Path]) -> dict[str, os.stat_result]:
    """What is seen in directories that are over one another."""
    seen: dict[str, os.stat_result] = {}
    for directory in lower:
        seen = entries(directory) | seen
    return {name: found for name, found in seen.items() if not _is_whiteout(found)}


def _below(lower: list[Path], name: str) -> list[Path]:
    """The directories that are seen, over one another, by a name in such directories."""
    seen = []
    for directory in lower:
        try:
            found = os.lstat(directory / name)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            break
        seen.append(directory / name)
        if _is_opaque(directory / name):
            break
    return seen


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(directory: Path) -> bool:
    try:
        return os.getxattr(directory, opaque_xattr(), follow_symlinks=False) == b"y"
    except OSError:
        return False
