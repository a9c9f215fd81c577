"""Terminals of containers: made by descriptor, so that no name in a container can be swapped.

Source: the kernel's devpts.rst; pts(4), ioctl_tty(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.errors import InvalidRequest, from_os_error
from drivers.execution.base import WindowSize
from drivers.kernel import mount as m
from drivers.kernel.path import RESOLVE, openat2
from drivers.kernel.terminal import open_peer, set_window_size

TTY_GID = 5  # terminals belong to this group, as every distribution has it
_OPTIONS = {"ptmxmode": "0666", "mode": "0620"}
_PTMX = os.makedev(5, 2)
_TIOCSPTLCK = 0x40045431
_OPEN = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Terminal:
    """Both ends of a terminal, and the file system that it is in if that is new."""

    master: int
    slave: int
    devpts: int = -1  # a detached mount


@contextlib.contextmanager
def new_terminal(size: WindowSize, gid: int = TTY_GID) -> Iterator[Terminal]:
    """A terminal in a devpts of its own, of the group `gid`.

    The block closes all but the master, unless it fails.
    """
    with contextlib.ExitStack() as held:
        try:
            devpts = _new_devpts(gid)
            held.callback(os.close, devpts)
            terminal = _open_pair(os.open("ptmx", _OPEN, dir_fd=devpts), size, devpts)
        except OSError as error:
            raise from_os_error(error, "make terminal") from error
        with _closing(terminal):
            yield terminal


@contextlib.contextmanager
def terminal_below(root_fd: int, size: WindowSize) -> Iterator[Terminal]:
    """A terminal in the /dev/pts of a running container, whose root is `root_fd`.

    The block closes all but the master, unless it fails. Raises InvalidRequest if there is no
    /dev/pts, or something else in its place.
    """
    links = RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS
    try:
        found = openat2(root_fd, "dev/pts/ptmx", os.O_PATH, resolve=links)
    except OSError as error:
        raise InvalidRequest(f"the container has no /dev/pts: {error.strerror}") from error
    try:
        status = os.fstat(found)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
            raise InvalidRequest("the container's /dev/pts/ptmx is not a terminal multiplexer")
        terminal = _open_pair(os.open(f"/proc/self/fd/{found}", _OPEN), size)
    except OSError as error:
        raise from_os_error(error, "make terminal") from error
    finally:
        os.close(found)
    with _closing(terminal):
        yield terminal


@contextlib.contextmanager
def _closing(terminal: Terminal) -> Iterator[None]:
    try:
        yield
    except BaseException:  # nobody takes it over: it is ours to close
        os.close(terminal.master)
        raise
    finally:
        os.close(terminal.slave)


def _new_devpts(gid: int) -> int:
    context = m.fsopen("devpts")
    try:
        m.fsconfig_string(context, "source", "devpts")
        for key, value in {**_OPTIONS, "gid": str(gid)}.items():
            m.fsconfig_string(context, key, value)
        m.fsconfig_create(context)
        return m.fsmount(context, m.ATTR.NOSUID | m.ATTR.NOEXEC)
    finally:
        os.close(context)


def _open_pair(master: int, size: WindowSize, devpts: int = -1) -> Terminal:
    """The terminal of a master that was just opened."""
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))
        slave = open_peer(master)
    except OSError:
        os.close(master)
        raise
    if size != WindowSize():
        set_window_size(master, size.rows, size.columns)
    return Terminal(master, slave, devpts)
