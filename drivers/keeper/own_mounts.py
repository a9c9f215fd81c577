"""The keeper's own mount namespace: procfs, sysfs, a place where a root is attached: nothing else.

So no mount of the host is held by the keeper, none is copied at each start, and a container whose
root is not attached yet has nothing of the host to see.
"""

from __future__ import annotations

import os

from drivers.kernel import mount as m
from drivers.kernel import process as p

_SEEN = (("proc", "proc"), ("sys", "sysfs"))  # what a user namespace must see to mount its own
SCAFFOLD = "/root"  # where a container's root is attached until it becomes the root


def leave_host_mounts() -> None:
    """Move this process, which has one thread, into such a namespace. Raises OSError."""
    p.unshare(p.CLONE.NEWNS)
    views = [(name, _view(name, fstype)) for name, fstype in _SEEN]
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
    for name, view in views:
        os.mkdir(name)
        m.move_mount(view, name)
        os.close(view)
    # stacked on one another: the old root is on top and is taken off first
    p.pivot_root(".", ".")
    m.umount(".", m.MNT.DETACH)
    os.chdir("/")
    os.close(root)


def _view(name: str, fstype: str) -> int:
    """A detached mount of a file system of the kernel's; the host's where we may mount none."""
    try:
        return _new_view(fstype)
    except PermissionError:  # its namespace is not ours: a rootless daemon has the host's
        return m.open_tree_clone(f"/{name}", recursive=True)


def _new_view(fstype: str) -> int:
    context = m.fsopen(fstype)
    try:
        m.fsconfig_create(context)
        return m.fsmount(context, m.ATTR.NOSUID | m.ATTR.NODEV | m.ATTR.NOEXEC)
    finally:
        os.close(context)
