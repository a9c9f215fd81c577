"""Comparing two trees: the differ of drivers that have none of their own."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.storage.base import Change, ChangeKind


def compare(new: Path, old: Path | None, *, step: Callable[[], None]) -> list[Change]:
    """What differs between the trees below two directories, sorted by path.

    Content counts as changed when size, time or kind differ: nothing is read.
    """
    return sorted(_walk(new, old, "", step))


def _walk(new: Path, old: Path | None, prefix: str, step: Callable[[], None]) -> Iterator[Change]:
    step()
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
            yield from _walk(new / name, old / name if old and below else None, path, step)
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
