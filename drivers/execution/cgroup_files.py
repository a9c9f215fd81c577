"""Reading and writing the small files of control groups; with system calls alone, as starts pay.

cgroupfs is memory, not a disk: it is used where it is needed, without a thread.
"""

from __future__ import annotations

import errno
import os

NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_READ_BYTES = 65536  # more than any of these files but lists of processes has


def write(path: str, value: str) -> None:
    """Write a value in one call, as the kernel wants it. Raises OSError; never makes a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def read(path: str) -> str:
    """A whole file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, _READ_BYTES):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode()


def read_or_empty(path: str) -> str:
    """A whole file, or "" if this kernel does not have it or the group is gone.

    Raises OSError if the daemon has no descriptor left: nothing is known then.
    """
    try:
        return read(path)
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            raise
        return ""


def fields(text: str) -> dict[str, int]:
    """Lines of a name and a number: memory.stat, cpu.stat, cgroup.events, memory.events."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdecimal():
            found[name] = int(value)
    return found


def number(text: str) -> int | None:
    """The number in a file; None for "max", for nothing, and for v1's -1."""
    text = text.strip()
    return int(text) if text.isdecimal() else None
