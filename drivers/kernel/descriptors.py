"""How many descriptors this process may have, and which of them are kept for what runs.

The usual limit is 1024, for the sake of programs that use select(2): a hundred containers take all
of that. The daemon may have more, if it says so; containers get what the daemon was given.

Requests are refused before the last are gone. To see to the end of a container the daemon opens a
few for a moment: its control group's files, the next file of its log. The keeper makes a process in
a copy of its table, and needs room there. A client that has many connections must not keep them
from that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource

RESERVED = 128
_SMALLEST_SHARE = 4  # of a small limit no more than a fourth is reserved
_given: list[tuple[int, int]] = []  # the limits, soft and hard, before they were raised


def raise_limit() -> None:
    """Allow this process, and those that it makes, as many as it may be allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    # fs.nr_open may have been made less than what was allowed before
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _given.append((soft, hard))


def given_limit() -> tuple[int, int] | None:
    """What was allowed before `raise_limit`, soft and hard; None if that has changed nothing."""
    return _given[-1] if _given else None


def give_back_limit() -> None:
    """Undo `raise_limit`, for a program that takes this process's place."""
    if _given:
        resource.setrlimit(resource.RLIMIT_NOFILE, _given.pop())


def is_reserved(fd: int) -> bool:
    """Whether `fd` is among the last that this process may have.

    The kernel gives the lowest number that is free, so all below it are in use.
    Source: open(2), getrlimit(2).
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return fd >= limit - min(RESERVED, limit // _SMALLEST_SHARE)


def check_not_reserved(fd: int) -> int:
    """`fd`, which was opened for a request. Raises OSError EMFILE if it is reserved."""
    if is_reserved(fd):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return fd


def check_room() -> None:
    """The same before a request opens what it holds for long."""
    fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check_not_reserved(fd)
    finally:
        os.close(fd)
