"""The container's file system: its root, /proc, /dev, /sys, its mounts, and what is hidden.

Runs in the child, in a mount namespace of its own. Names in the image are hostile: each is
resolved below the root by openat2, and used by the descriptor that was found.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from drivers.keeper.protocol import Plan
from drivers.keeper.step import step
from drivers.kernel import mount as m
from drivers.kernel import process as p
from drivers.kernel.path import RESOLVE, makedirs_in_root, openat2

_TTY_GID = 5  # devpts gives terminals to this group, as every distribution has it
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}  # minor of major 1
_DEV_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}
_NO_LINKS = RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
# Joined here, once: to join flags takes long the first time, and in a child it is always that.
_NO_FILES = m.ATTR.NOSUID | m.ATTR.NODEV | m.ATTR.NOEXEC
_NO_FILES_READ_ONLY = _NO_FILES | m.ATTR.RDONLY
_NO_PROGRAMS = m.ATTR.NOSUID | m.ATTR.NOEXEC
_ALL_PRIVATE = m.MS.REC | m.MS.PRIVATE
_SCAFFOLD = "/dev"  # where the new root is attached until it becomes the root


def enter_root(root_fd: int) -> None:
    """Make the detached mount the root, and let go of every mount of the host."""
    with step("make mounts private"):
        m.mount(None, "/", None, _ALL_PRIVATE)
    with step("attach root"):
        m.move_mount(root_fd, _SCAFFOLD)
        m.mount(None, _SCAFFOLD, None, _ALL_PRIVATE)
    with step("pivot_root"):
        os.chdir(_SCAFFOLD)
        # stacked on one another: the old root is on top and is taken off first
        p.pivot_root(".", ".")
        m.umount(".", m.MNT.DETACH)
        os.chdir("/")


def open_root() -> int:
    """The container's root directory, for openat2."""
    return os.open("/", _DIRECTORY | os.O_CLOEXEC)


def mount_kernel_files(plan: Plan) -> tuple[int, int]:
    """Mount /proc, /dev and /sys; descriptors of the mounts of /proc and /dev.

    What is reached through them is procfs and our own /dev, whatever the container's paths say.
    """
    proc_fd = _mount_proc()
    dev_fd = _mount_dev()
    _mount_below_dev(dev_fd, plan.shm_size_bytes)
    _mount_sys(plan)
    return proc_fd, dev_fd


def _mount_point(path: str) -> int:
    """A directory of the image, made if missing; a symlink in its place is refused (ELOOP)."""
    root = open_root()
    try:
        return openat2(root, path, _DIRECTORY, resolve=_NO_LINKS)
    except FileNotFoundError:
        os.mkdir(path, 0o755, dir_fd=root)
        return openat2(root, path, _DIRECTORY, resolve=_NO_LINKS)
    finally:
        os.close(root)


def _file_system(fstype: str, attributes: m.ATTR, **options: str) -> int:
    """A detached mount of a new file system; an option without a value is a flag."""
    context = m.fsopen(fstype)
    try:
        m.fsconfig_string(context, "source", fstype)  # what `mount` shows first
        for key, value in options.items():
            if value:
                m.fsconfig_string(context, key, value)
            else:
                m.fsconfig_flag(context, key)
        m.fsconfig_create(context)
        return m.fsmount(context, attributes)
    finally:
        os.close(context)


def _mount_proc() -> int:
    with step("mount proc"):
        proc_fd = _file_system("proc", _NO_FILES)
        m.move_mount(proc_fd, "", dir_fd=_mount_point("proc"))
    return proc_fd


def _mount_dev() -> int:
    with step("mount dev"):
        dev_fd = _file_system("tmpfs", m.ATTR.NOSUID, mode="755", size="65536k")
        for name, minor in _DEVICES.items():
            os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(1, minor), dir_fd=dev_fd)
        os.mknod("tty", 0o666 | stat.S_IFCHR, os.makedev(5, 0), dir_fd=dev_fd)
        for name, target in _DEV_LINKS.items():
            os.symlink(target, name, dir_fd=dev_fd)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=dev_fd)
        m.move_mount(dev_fd, "", dir_fd=_mount_point("dev"))
    return dev_fd


def _mount_below_dev(dev_fd: int, shm_size_bytes: int) -> None:
    with step("mount devpts"):
        pts = _file_system(
            "devpts",
            _NO_PROGRAMS,
            newinstance="",
            ptmxmode="0666",
            mode="0620",
            gid=str(_TTY_GID),
        )
        m.move_mount(pts, "pts", dir_fd=dev_fd)
    with step("mount shm"):
        shm = _file_system("tmpfs", _NO_FILES, mode="1777", size=str(shm_size_bytes))
        m.move_mount(shm, "shm", dir_fd=dev_fd)
    with step("mount mqueue"):
        m.move_mount(_file_system("mqueue", _NO_FILES), "mqueue", dir_fd=dev_fd)


def _mount_sys(plan: Plan) -> None:
    """Mount /sys and the container's own control groups, both read-only."""
    with step("mount sysfs"):
        sys_fd = _file_system("sysfs", _NO_FILES_READ_ONLY)
        m.move_mount(sys_fd, "", dir_fd=_mount_point("sys"))
    with step("mount cgroup"):
        if plan.cgroup_version == 2:
            tree = _file_system("cgroup2", _NO_FILES_READ_ONLY)
            m.move_mount(tree, "fs/cgroup", dir_fd=sys_fd)
            return
        top = _file_system("tmpfs", _NO_FILES, mode="755", size="64k")
        m.move_mount(top, "fs/cgroup", dir_fd=sys_fd)
        for hierarchy in plan.cgroup_hierarchies:
            controllers = hierarchy.split(",")
            os.mkdir(hierarchy, 0o755, dir_fd=top)
            tree = _file_system("cgroup", _NO_FILES_READ_ONLY, **dict.fromkeys(controllers, ""))
            m.move_mount(tree, hierarchy, dir_fd=top)
            if len(controllers) > 1:
                for controller in controllers:
                    os.symlink(hierarchy, controller, dir_fd=top)
        m.mount_setattr(top, set_=m.ATTR.RDONLY)


def attach_mounts(plan: Plan, mounts: tuple[int, ...], proc_fd: int) -> None:
    """Attach the mounts that the container was asked to have, in their order."""
    proc_device = os.fstat(proc_fd).st_dev
    for fd, target in zip(mounts, plan.mount_targets, strict=True):
        with step(f"mount {target}"):
            # else a mount made below this one later would appear on the host as well
            m.mount_setattr(fd, propagation=m.MS.PRIVATE, recursive=True)
            place = _make_target(target, is_directory=stat.S_ISDIR(os.fstat(fd).st_mode))
            if os.fstat(place).st_dev == proc_device:
                raise OSError(errno.EPERM, "a mount may not cover a part of /proc", target)
            m.move_mount(fd, "", dir_fd=place)
            os.close(place)


def _make_target(target: str, *, is_directory: bool) -> int:
    """The file or directory of the container at `target`, made if missing."""
    root = open_root()
    try:
        if is_directory:
            return makedirs_in_root(root, target)
        parent, _, _ = target.rstrip("/").rpartition("/")
        os.close(makedirs_in_root(root, parent or "/"))
        try:
            return openat2(root, target, os.O_PATH)
        except FileNotFoundError:
            os.close(openat2(root, target, os.O_WRONLY | os.O_CREAT, mode=0o644))
            return openat2(root, target, os.O_PATH)
    finally:
        os.close(root)


def cover_paths(plan: Plan, dev_fd: int) -> None:
    """Hide what the container must not see, and write-protect what it may only read."""
    root = open_root()
    empty: int | None = None
    for path in plan.masked_paths:
        with step(f"mask {path}"), contextlib.suppress(FileNotFoundError):
            place = openat2(root, path, os.O_PATH, resolve=_NO_LINKS)
            if stat.S_ISDIR(os.fstat(place).st_mode):
                if empty is None:
                    empty = cover = _file_system("tmpfs", _NO_FILES_READ_ONLY, mode="755")
                else:
                    cover = m.open_tree_clone("", dir_fd=empty)
            else:
                # our own /dev/null, by descriptor: the image's name cannot stand in its way
                cover = m.open_tree_clone("null", dir_fd=dev_fd)
            m.move_mount(cover, "", dir_fd=place)
    for path in plan.readonly_paths:
        with step(f"protect {path}"), contextlib.suppress(FileNotFoundError):
            place = openat2(root, path, os.O_PATH, resolve=_NO_LINKS)
            cover = m.open_tree_clone("", dir_fd=place, recursive=True)
            m.mount_setattr(cover, set_=m.ATTR.RDONLY, recursive=True)
            m.move_mount(cover, "", dir_fd=place)


def protect_root() -> None:
    """Make the root mount read-only; the mounts below it stay as they are."""
    with step("make root read-only"):
        m.mount_setattr(open_root(), set_=m.ATTR.RDONLY)
