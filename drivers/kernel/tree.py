"""Trees of files that somebody else has made: of any depth, and none of their links is followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)  # rmdir(2): POSIX allows both


def remove_tree(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Delete a directory with all that is in it, as shutil.rmtree does; blocks. Raises OSError.

    A mount in it is an error, and what is in that stays.

    But shutil.rmtree holds a descriptor and calls itself for each level: a container that makes a
    thousand could not be removed. It also takes twice as long for a tree as small as most are.
    """
    current = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    names: list[str] = []  # of the directories from the top to the current one
    try:
        passed = [_identity(current)]  # which those are, with the current one
        left = [_emptied(current)]  # what has to be removed yet in each of them
        while True:
            if left[-1]:
                names.append(left[-1].pop())
                current = _moved(current, names[-1])
                passed.append(_identity(current))
                left.append(_emptied(current))
            elif names:
                left.pop()
                passed.pop()
                current = _moved(current, "..")
                # somebody who has kept a directory of it may have moved the one we were in
                if _identity(current) != passed[-1]:
                    raise OSError(errno.EBUSY, "directories are moved in it")
                os.rmdir(names.pop(), dir_fd=current)
            else:
                break
    finally:
        os.close(current)
    os.rmdir(path, dir_fd=dir_fd)


def directories(top: str, tell: Callable[[OSError], None]) -> Iterator[str]:
    """The paths of `top` and all directories below it, each after the one that it is in.

    As os.walk does, which calls itself for each level. `tell` is told of what cannot be read.
    """
    left = [top]
    while left:
        directory = left.pop()
        yield directory
        try:
            with os.scandir(directory) as entries:
                left += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            tell(error)


def _moved(directory_fd: int, name: str) -> int:
    """The descriptor of what is above or below a directory, whose own is closed."""
    fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
    os.close(directory_fd)
    return fd


def _identity(directory_fd: int) -> tuple[int, int]:
    found = os.fstat(directory_fd)
    return found.st_dev, found.st_ino


def _emptied(directory_fd: int) -> list[str]:
    """Delete what can be deleted from a directory; the names of directories that are not empty."""
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
            if error.errno not in _NOT_EMPTY:  # EBUSY: a mount is there, and what is in it stays
                raise
            left.append(name)
    return left
