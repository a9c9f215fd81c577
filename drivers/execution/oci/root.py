"""What of a root file system is looked at before a runtime gets it."""

from __future__ import annotations

import os

from drivers.errors import SpawnFailed
from drivers.kernel.path import RESOLVE, openat2

# Where runtimes mount and make files while the host's root is still theirs, and our names of it.
_MOUNT_POINTS = {"proc": "proc", "dev": "dev", "sys": "sysfs"}


def check_mount_points(root_fd: int) -> None:
    """Raise SpawnFailed if /proc, /dev or /sys of the image is no directory; blocking.

    runc 1.1.5 follows a /dev that is a link to ../../x, and makes links in the host's /x.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    for name, what in _MOUNT_POINTS.items():
        try:
            os.close(openat2(root_fd, name, flags, resolve=RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS))
        except FileNotFoundError:
            continue  # the runtime makes it
        except OSError as error:
            raise SpawnFailed(f"mount {what}", error.errno or 0, f"/{name}") from error
