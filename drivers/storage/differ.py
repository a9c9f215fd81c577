"""Comparing two trees: the differ of drivers that have none of their own."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.storage.base import Change, ChangeKind

_Pair = tuple[Path, Path | None, str]  # a directory, the old one if there was one, their path


def compare(
    new: Path, old: Path | None, *, step: Callable[[], None], is_whole: bool = True
) -> list[Change]:
    """What differs between the trees below two directories, sorted by path.

    Content counts as changed when size, time or kind differ: nothing is read. Raises OSError for
    what is deeper than a path can be, or leaves it out if it need not be `is_whole`.
    """
    found: list[Change] = []
    left: list[_Pair] = [(new, old, "")]
    while left:
        step()
        try:
            found += _changes(*left.pop(), left)
        except OSError as error:
            if is_whole or error.errno != errno.ENAMETOOLONG:
                raise
    return sorted(found)


def _changes(new: Path, old: Path | None, prefix: str, left: list[_Pair]) -> Iterator[Change]:
    """Those in one directory; what is below goes to `left`."""
    new_entries = entries(new)
    old_entries = entries(old) if old is not None else {}
    for name, found in new_entries.items():
        path = f"{prefix}/{name}"
        before = old_entries.get(name)
        if before is None:
            yield Change(path, ChangeKind.ADDED)
        elif differs(found, before):
            yield Change(path, ChangeKind.MODIFIED)
        if stat.S_ISDIR(found.st_mode):
            below = before is not None and stat.S_ISDIR(before.st_mode)
            left.append((new / name, old / name if old and below else None, path))
    for name in old_entries.keys() - new_entries.keys():
        yield Change(f"{prefix}/{name}", ChangeKind.DELETED)


def entries(directory: Path) -> dict[str, os.stat_result]:
    """What is in a directory; what goes away meanwhile, for a container runs in it, is not."""
    found = {}
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for name in names:
        try:
            found[name] = os.lstat(directory / name)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


def differs(new: os.stat_result, old: os.stat_result) -> bool:
    """Whether an entry counts as changed; what is in a directory is not looked at."""
    if (new.st_mode, new.st_uid, new.st_gid) != (old.st_mode, old.st_uid, old.st_gid):
        return True
    if stat.S_ISDIR(new.st_mode):
        return False
    return (new.st_rdev, new.st_size, new.st_mtime_ns) != (
        old.st_rdev,
        old.st_size,
        old.st_mtime_ns,
    )
