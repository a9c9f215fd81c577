"""Layers as directories that overlayfs stacks: shared, and mounted in well under a millisecond."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import trio

from drivers.errors import IncompatibleFilesystem, InvalidRequest, Unsupported, from_os_error
from drivers.kernel import mount as m
from drivers.kernel.tree import directories
from drivers.kernel.user_namespace import in_user_namespace
from drivers.storage.base import Change
from drivers.storage.differ import entries
from drivers.storage.id_mapped import (
    clone_mapped,
    filesystem_of,
    in_private_mounts,
    mount_over_mapped,
)
from drivers.storage.layout import Layout, LayoutStorage
from drivers.storage.overlay_ends import OverlayEnds
from drivers.storage.pack import pack
from drivers.storage.unpack import unpack
from drivers.storage.upper import opaque_xattr, upper_changes

_NEARLY_FULL = 20  # less than this part of a disk is free
_UNSEEN = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
MAX_LAYERS = 500  # overlayfs's own limit
_MOST_OPTIONS = 4095  # bytes: mount(2) takes a page, and cuts what is longer


class OverlayStorage(LayoutStorage):
    """A key is a directory `diff` with its own files; `get` mounts it over its parents' diffs.

    Needs trusted xattrs and renames with whiteouts from the file system below: ext4, xfs, btrfs.
    """

    name = "overlay"
    shows_beneath = True

    def __init__(self, layout: Layout, mount_overlay: Callable[[list[str], str, str], int]) -> None:
        super().__init__(layout)
        self._mount = mount_overlay
        self._diffs: dict[str, list[str]] = {}  # the lower directories of a key, once looked up
        self._held: dict[str, list[int]] = {}  # descriptors of mounts, until `put`
        self._ends = OverlayEnds()

    def create(self, key: str, parent: str | None, beneath: str | None = None) -> None:
        with self._layout.making(key, parent, beneath) as directory:
            (directory / "diff").mkdir(mode=0o755)
            if parent is not None:
                _copy_mode(self._layout.path(parent) / "diff", directory / "diff")
            (directory / "work").mkdir(mode=0o700)

    def remove(self, key: str) -> None:
        super().remove(key)
        for known in (self._diffs, self._held):
            known.pop(key, None)
        if _is_nearly_full(self._layout.home):  # what is deleted is freed when its mount goes
            self._ends.finish(key)

    def get(self, key: str, userns_fd: int | None = None) -> int:
        path = self._layout.path(key)
        self._ends.finish(key)  # two at a time of the same directories are not defined
        lower = self._lower(key)
        mount = partial(self._mount, lower, str(path / "diff"), str(path / "work"))
        try:
            if not lower:
                fd = clone_mapped(str(path / "diff"), userns_fd)
            elif userns_fd is None:
                fd = mount()
            else:  # Linux 5.19
                fd = mount_over_mapped(str(self._layout.home), userns_fd, mount)
        except OSError as error:
            if userns_fd is not None and error.errno == errno.EINVAL:
                raise Unsupported(
                    "user namespace: overlayfs takes no id-mapped layers here, as Linux 5.19 does: "
                    "choose --userns host, or the storage driver vfs"
                ) from error
            raise from_os_error(error, f"mount layer {key}") from error
        try:
            # the last one is closed where nobody waits for it
            self._held.setdefault(key, []).append(os.dup(fd))
        except OSError as error:
            os.close(fd)
            raise from_os_error(error, f"mount layer {key}") from error
        self._layout.count_mount(key)
        return fd

    def put(self, key: str) -> None:
        super().put(key)
        held = self._held.get(key)
        if held:
            self._ends.let_go(key, held.pop())

    def cleanup(self) -> None:
        self._ends.close()

    def _lower(self, key: str) -> list[str]:
        """The diffs that are below, nearest first."""
        if key not in self._diffs:
            lower, beneath = self._layout.chain(key)[1:], self._layout.beneath(key)
            if len(lower) > MAX_LAYERS:
                raise InvalidRequest(f"layer {key} has more than {MAX_LAYERS} parents")
            if beneath is not None and len(lower) < MAX_LAYERS:
                lower.append(beneath)
            self._diffs[key] = [str(self._layout.home / k / "diff") for k in lower]
        return self._diffs[key]

    def status(self) -> list[tuple[str, str]]:
        return [("Backing Filesystem", filesystem_of(self._layout.home))]

    def metadata(self, key: str) -> Mapping[str, str]:
        path, lower = self._layout.path(key), self._lower(key)
        found = {"UpperDir": str(path / "diff"), "WorkDir": str(path / "work")}
        return {"LowerDir": ":".join(lower), **found} if lower else found

    def apply_diff(self, key: str, parent: str | None, layer: BinaryIO) -> int:
        with self._layout.making(key, parent) as directory:
            diff = directory / "diff"
            diff.mkdir(mode=0o755)
            if parent is not None:
                _copy_mode(self._layout.path(parent) / "diff", diff)
            (directory / "work").mkdir(mode=0o700)
            return unpack(
                layer, str(diff), _OverlayWhiteouts(), step=trio.from_thread.check_cancelled
            )

    def diff(self, key: str, parent: str | None, out: BinaryIO) -> None:
        root = self._layout.home / key / "diff"
        pack(out, root, self.changes(key, parent), step=trio.from_thread.check_cancelled)

    def changes(self, key: str, parent: str | None) -> list[Change]:
        diff = self._layout.path(key) / "diff"
        lower = [Path(directory) for directory in self._lower(key)]
        try:
            return sorted(upper_changes(diff, lower))
        except OSError as error:  # a container may make paths that are too long
            raise from_os_error(error, f"look at layer {key}") from error

    def diff_size(self, key: str, parent: str | None) -> int:
        try:
            return _content_bytes(self._layout.path(key) / "diff")
        except OSError as error:
            raise from_os_error(error, f"look at layer {key}") from error


class _OverlayWhiteouts:
    """overlayfs's own marks. Source: the kernel's overlayfs.rst, "whiteouts and opaque"."""

    def delete(self, parent_fd: int, name: str) -> None:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent_fd)

    def hide_all(self, directory_fd: int) -> None:
        os.setxattr(directory_fd, opaque_xattr(), b"y")


def _is_nearly_full(directory: Path) -> bool:
    found = os.statvfs(directory)
    return found.f_bavail < found.f_blocks // _NEARLY_FULL


def _content_bytes(root: Path) -> int:
    """What is deeper than a path can be is not seen, nor what goes away meanwhile."""

    def tell(error: OSError) -> None:
        if error.errno not in _UNSEEN:
            raise error

    total = 0
    for directory in directories(str(root), tell):
        try:
            seen = entries(Path(directory)).values()
        except OSError as error:
            tell(error)
        else:
            total += sum(found.st_size for found in seen if stat.S_ISREG(found.st_mode))
    return total


def _copy_mode(source: Path, target: Path) -> None:
    """The root directory of a layer looks like its parent's, for its own is what is seen."""
    found = source.stat()
    os.chown(target, found.st_uid, found.st_gid)
    os.chmod(target, stat.S_IMODE(found.st_mode))


def mount_by_descriptor(lower: list[str], upper: str, work: str) -> int:
    """A detached overlay, each layer configured by itself. Linux 6.5 for `lowerdir+`."""
    with contextlib.ExitStack() as held:
        context = m.fsopen("overlay")
        held.callback(os.close, context)
        m.fsconfig_string(context, "source", "overlay")
        if in_user_namespace():
            m.fsconfig_flag(context, "userxattr")
        for directory in lower:
            m.fsconfig_string(context, "lowerdir+", _short(directory, held))
        m.fsconfig_string(context, "upperdir", _short(upper, held))
        m.fsconfig_string(context, "workdir", _short(work, held))
        m.fsconfig_create(context)
        return m.fsmount(context)


def _short(path: str, held: contextlib.ExitStack) -> str:
    """A name of the directory that fsconfig(2) takes: 255 bytes at most."""
    return path if len(os.fsencode(path)) <= 255 else _by_number(path, held)


def _by_number(path: str, held: contextlib.ExitStack) -> str:
    """A short name of the directory, for as long as it is `held`."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    held.callback(os.close, fd)
    return f"/proc/self/fd/{fd}"


def mount_by_path(lower: list[str], upper: str, work: str) -> int:
    """The same for older kernels: mount(2) in a mount namespace that only a thread sees.

    The thread ends, and with it the namespace; the detached copy stays.
    """

    def work_apart() -> int:
        with contextlib.ExitStack() as held:
            options = _options(lower, upper, work)
            if len(os.fsencode(options)) > _MOST_OPTIONS:
                # opened here: overlayfs takes what is in the mount namespace of who mounts it
                options = _options([_by_number(one, held) for one in lower], upper, work)
            if len(os.fsencode(options)) > _MOST_OPTIONS:
                raise InvalidRequest(
                    f"{len(lower)} layers are more than Linux before 6.5 can mount"
                )
            m.mount("overlay", upper, "overlay", data=options)
        return m.open_tree_clone(upper)

    return in_private_mounts(work_apart)


def _options(lower: list[str], upper: str, work: str) -> str:
    options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
    return f"{options},userxattr" if in_user_namespace() else options


def _probe(home: Path, mount_overlay: Callable[[list[str], str, str], int]) -> None:
    """Mount a small overlay below `home` and write to it. Raises OSError."""
    probe = home / ".probe"
    for name in ("lower", "upper", "work"):
        (probe / name).mkdir(parents=True, exist_ok=True)
    fd = mount_overlay([str(probe / "lower")], str(probe / "upper"), str(probe / "work"))
    try:
        os.mkdir("made", dir_fd=fd)
    finally:
        os.close(fd)
    (probe / "lower" / "x").mkdir(exist_ok=True)
    os.setxattr(probe / "lower" / "x", opaque_xattr(), b"y")


def _open(home: Path, options: Mapping[str, str]) -> OverlayStorage:
    for option in options:
        raise InvalidRequest(f"unknown storage option {option!r} for the overlay driver")
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        with contextlib.suppress(OSError):  # an attempt loads the module where it is one
            os.close(m.fsopen("overlay"))
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        raise Unsupported("overlay: this kernel has no overlayfs: `modprobe overlay` may load it")
    layout = Layout(home)
    layout.open()
    for attempt in (mount_by_descriptor, mount_by_path):
        try:
            _probe(home, attempt)
        except OSError as error:
            refused = error
            continue
        layout.open()
        return OverlayStorage(layout, attempt)
    layout.open()
    raise IncompatibleFilesystem(
        f"overlay: does not work over {filesystem_of(home)} at {home}: "
        f"{(refused.strerror or str(refused)).lower()}: choose another --root, or the driver vfs"
    )


async def open_driver(home: Path, options: Mapping[str, str]) -> OverlayStorage:
    """The driver over `home`. Raises Unsupported or IncompatibleFilesystem where it cannot work."""
    try:
        return await trio.to_thread.run_sync(_open, home, options)
    except OSError as error:
        raise from_os_error(error, f"open overlay storage at {home}") from error
