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
    new_entries = _entries(new)
    old_entries = _entries(old) if old is not None else {}
    for name, entry in new_entries.items():
        path = f"{prefix}/{name}"
        before = old_entries.get(name)
        if before is None:
            yield Change(path, ChangeKind.ADDED)
        elif _differs(entry, before):
            yield Change(path, ChangeKind.MODIFIED)
        if entry.is_dir(follow_symlinks=False):
            below = before is not None and before.is_dir(follow_symlinks=False)
            yield from _walk(
                new / name, Path(before.path) if before and below else None, path, step
            )
    for name in old_entries.keys() - new_entries.keys():
        yield Change(f"{prefix}/{name}", ChangeKind.DELETED)


def _entries(directory: Path) -> dict[str, os.DirEntry[str]]:
    with os.scandir(directory) as found:
        return {entry.name: entry for entry in found}


def _differs(new: os.DirEntry[str], old: os.DirEntry[str]) -> bool:
    a, b = new.stat(follow_symlinks=False), old.stat(follow_symlinks=False)
    if (a.st_mode, a.st_uid, a.st_gid, a.st_rdev) != (b.st_mode, b.st_uid, b.st_gid, b.st_rdev):
        return True
    if stat.S_ISDIR(a.st_mode):
        return False
    return (a.st_size, a.st_mtime_ns) != (b.st_size, b.st_mtime_ns)
