"""Mounts of layers whose owners are seen through a user namespace's maps: nothing is chowned."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from drivers.errors import CrecheError, IncompatibleFilesystem
from drivers.kernel import mount as m
from drivers.kernel import process as p
from drivers.kernel.capabilities import NUMBER_OF, available

_CANNOT = (errno.EINVAL, errno.EPERM, errno.ENOSYS)


def clone_mapped(path: str, userns_fd: int | None) -> int:
    """A detached, private copy of the mount at `path`, seen through the maps if there are any.

    Raises OSError; IncompatibleFilesystem if the file system knows no maps.
    """
    with contextlib.ExitStack() as unless_done:
        fd = m.open_tree_clone(path)
        unless_done.callback(os.close, fd)
        try:
            m.mount_setattr(fd, propagation=m.MS.PRIVATE, userns_fd=userns_fd)
        except OSError as error:
            if userns_fd is None or error.errno not in _CANNOT:
                raise
            raise IncompatibleFilesystem(
                f"user namespace: {filesystem_of(Path(path))} at {path} has no id-mapped mounts: "
                "choose another --root, or --userns host"
            ) from error
        unless_done.pop_all()
    return fd


def mount_over_mapped(home: str, userns_fd: int, mount: Callable[[], int]) -> int:
    """What `mount` gives where everything below `home` is seen through the maps.

    In a mount namespace that only a thread sees: overlayfs takes as layers what is attached in the
    caller's own. Raises what `mount` and `clone_mapped` raise.
    """

    def work() -> int:
        fd = clone_mapped(home, userns_fd)
        try:
            owner = os.fstat(fd)
            m.move_mount(fd, home)
        finally:
            os.close(fd)
        # overlayfs makes whiteouts and the like as who mounts it, who has no id in the maps
        numbers = [NUMBER_OF[name] for name in available()]
        p.make_files_as(owner.st_uid, owner.st_gid, numbers)
        return mount()

    return in_private_mounts(work)


def in_private_mounts(work: Callable[[], int]) -> int:
    """The result of `work` in a thread with a mount namespace of its own, which ends with it.

    Detached mounts stay. Raises what `work` raises of OSError and CrecheError.
    """
    results: list[int] = []
    errors: list[OSError | CrecheError] = []

    def work_apart() -> None:
        try:
            p.unshare(p.CLONE.NEWNS)
            m.mount(None, "/", None, m.MS.REC | m.MS.PRIVATE)
            results.append(work())
        except (OSError, CrecheError) as error:
            errors.append(error)

    thread = threading.Thread(target=work_apart)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def filesystem_of(path: Path) -> str:
    """The type of the file system that holds `path`. Source: proc_pid_mountinfo(5)."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[2] == wanted:
            return line.partition(" - ")[2].split()[0]
    return "unknown"
