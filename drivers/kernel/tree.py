"""Trees of files that somebody else has made: of any depth, and removed without following links."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)  # rmdir(2): POSIX allows both


def remove_tree(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Delete a directory with all that is in it, as shutil.rmtree does; blocks. Raises OSError.

    A mount in it is an error, and what is in that stays.

    That one holds a descriptor and calls itself for each level: a container that makes a thousand
    could not be removed. It also takes twice as long for a tree as small as most are.
    """
    current = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    names: list[str] = []  # of the directories from the top to the current one
    try:
        left = [_emptied(current)]  # what has to be removed yet in each of them
        while True:
            if left[-1]:
                names.append(left[-1].pop())
                current = _moved(current, names[-1])
                left.append(_emptied(current))
            elif names:
                left.pop()
                current = _moved(current, "..")
                os.rmdir(names.pop(), dir_fd=current)
            else:
                break
    finally:
        os.close(current)
    os.rmdir(path, dir_fd=dir_fd)


def _moved(directory_fd: int, name: str) -> int:
    """The descriptor of what is beside or below a directory, whose own is closed."""
    fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
    os.close(directory_fd)
    return fd


def _emptied(directory_fd: int) -> list[str]:
    """Delete what can be deleted from a directory; the names of what is a directory with content.

    Nobody has moved it, or `..` would lead elsewhere: what is removed is nobody else's any more.
    """
    with os.scandir(directory_fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    left = []
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory_fd)
            continue
        try:
            os.rmdir(name, dir_fd=directory_fd)
        except OSError as error:
            if error.errno not in _NOT_EMPTY:  # it is a mount's place: what is there stays
                raise
            left.append(name)
    return left
