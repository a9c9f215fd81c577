"""What lies in the namespaces of another process.

Sources: setns(2), unshare(2), pidfd_open(2), open_tree(2).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from drivers.kernel.mount import open_tree_clone
from drivers.kernel.path import RESOLVE, openat2
from drivers.kernel.process import CLONE, setns, unshare

_CLONE_FS = 0x200


def pidfd_of(pid: int, start_time_ticks: int) -> int:
    """A descriptor of the process that has this number since then; close-on-exec.

    Raises ProcessLookupError if it has ended, whoever has its number now.
    """
    fd = os.pidfd_open(pid)
    try:
        with open(f"/proc/{pid}/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        ticks = -1
    if ticks != start_time_ticks:
        os.close(fd)
        raise ProcessLookupError(f"process {pid}")
    return fd


def clone_mount_in(pidfd: int, path: str) -> int:
    """A detached copy of what is mounted at `path` where a process sees it; blocking.

    No link is followed: whoever is in there may have changed everything. Raises OSError. A thread
    of its own goes there, for there is no way back from another mount namespace.
    """

    def clone() -> int:
        unshare(CLONE(_CLONE_FS))
        setns(pidfd, CLONE.NEWNS)
        resolve = RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            fd = openat2(root, path, os.O_PATH, resolve=resolve)
        finally:
            os.close(root)
        try:
            return open_tree_clone("", dir_fd=fd)
        finally:
            os.close(fd)

    return _in_a_thread(clone)


def _in_a_thread(work: Callable[[], int]) -> int:
    """The result of `work`, or its OSError, from a thread that ends with it."""
    results: list[int] = []
    errors: list[OSError] = []

    def run() -> None:
        try:
            results.append(work())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="other-namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
