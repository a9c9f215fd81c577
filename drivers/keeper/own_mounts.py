"""The keeper's own mount namespace: procfs, sysfs, a place where a root is attached: nothing else.

So no mount of the host is held by the keeper, none is copied at each start, and a container whose
root is not attached yet has nothing of the host to see.
"""

from __future__ import annotations

import os

from drivers.kernel import mount as m
from drivers.kernel import process as p

SCAFFOLD = "/root"  # where a container's root is attached until it becomes the root


def leave_host_mounts() -> None:
    """Move this process, which has one thread, into such a namespace. Raises OSError."""
    p.unshare(p.CLONE.NEWNS)
    # whatever the host mounts or unmounts from now on is not ours, nor the reverse
    m.mount(None, "/", None, m.MS.REC | m.MS.PRIVATE)
    context = m.fsopen("tmpfs")
    m.fsconfig_string(context, "mode", "755")
    m.fsconfig_create(context)
    root = m.fsmount(context, m.ATTR.NOSUID | m.ATTR.NODEV)
    os.close(context)
    m.move_mount(root, "/proc")
    os.fchdir(root)
    os.mkdir(SCAFFOLD.lstrip("/"))
    for name, fstype in (("proc", "proc"), ("sys", "sysfs")):  # a user namespace must see both
        os.mkdir(name)
        m.mount(fstype, name, fstype, m.MS.NOSUID | m.MS.NODEV | m.MS.NOEXEC)
    # stacked on one another: the old root is on top and is taken off first
    p.pivot_root(".", ".")
    m.umount(".", m.MNT.DETACH)
    os.chdir("/")
    os.close(root)
