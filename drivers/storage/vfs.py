"""Copies the parent. Works on every file system; costs one whole image of disk per key."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import trio

from drivers.errors import InvalidRequest, from_os_error
from drivers.kernel.tree import directories, remove_tree
from drivers.storage.base import Change
from drivers.storage.differ import compare
from drivers.storage.id_mapped import clone_mapped
from drivers.storage.layout import Layout, LayoutStorage
from drivers.storage.pack import pack
from drivers.storage.unpack import unpack


class VfsStorage(LayoutStorage):
    """A key is a directory `tree` with everything in it."""

    name = "vfs"
    shows_beneath = False

    def create(self, key: str, parent: str | None, beneath: str | None = None) -> None:
        with self._layout.making(key, parent) as directory:
            self._copy_parent(parent, directory / "tree")

    def _copy_parent(self, parent: str | None, tree: Path) -> None:
        if parent is None:
            tree.mkdir(mode=0o755)
        else:
            copy_tree(self._layout.path(parent) / "tree", tree, trio.from_thread.check_cancelled)

    def get(self, key: str, userns_fd: int | None = None) -> int:
        path = self._layout.path(key)
        try:
            fd = clone_mapped(str(path / "tree"), userns_fd)
        except OSError as error:
            raise from_os_error(error, f"mount layer {key}") from error
        self._layout.count_mount(key)
        return fd

    def status(self) -> list[tuple[str, str]]:
        return []

    def metadata(self, key: str) -> Mapping[str, str]:
        return {"Dir": str(self._layout.path(key) / "tree")}

    def apply_diff(self, key: str, parent: str | None, layer: BinaryIO) -> int:
        with self._layout.making(key, parent) as directory:
            tree = directory / "tree"
            self._copy_parent(parent, tree)
            return unpack(layer, str(tree), _Deletes(), step=trio.from_thread.check_cancelled)

    def diff(self, key: str, parent: str | None, out: BinaryIO) -> None:
        root = self._layout.home / key / "tree"
        pack(out, root, self.changes(key, parent), step=trio.from_thread.check_cancelled)

    def changes(self, key: str, parent: str | None) -> list[Change]:
        try:
            return self._compare(key, parent, is_whole=True)
        except OSError as error:  # a container may make paths that are too long
            raise from_os_error(error, f"look at layer {key}") from error

    def diff_size(self, key: str, parent: str | None) -> int:
        changes = self._compare(key, parent, is_whole=False)
        return _regular_bytes(self._layout.home / key / "tree", changes)

    def _compare(self, key: str, parent: str | None, *, is_whole: bool) -> list[Change]:
        old = self._layout.path(parent) / "tree" if parent is not None else None
        new = self._layout.path(key) / "tree"
        return compare(new, old, step=trio.from_thread.check_cancelled, is_whole=is_whole)


class _Deletes:
    """The tree is a copy: what a layer deletes is deleted from it (unpack did that already)."""

    def delete(self, parent_fd: int, name: str) -> None:
        pass

    def hide_all(self, directory_fd: int) -> None:
        for name in os.listdir(directory_fd):
            if stat.S_ISDIR(os.lstat(name, dir_fd=directory_fd).st_mode):
                remove_tree(name, dir_fd=directory_fd)
            else:
                os.unlink(name, dir_fd=directory_fd)


def _regular_bytes(root: Path, changes: list[Change]) -> int:
    total = 0
    for change in changes:
        try:
            found = os.lstat(root / change.path.lstrip("/"))
        except FileNotFoundError:
            continue
        total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def copy_tree(source: Path, target: Path, step: Callable[[], None]) -> None:
    """A copy with owners, modes, times, extended attributes, devices and hard links."""
    links: dict[tuple[int, int], Path] = {}
    target.mkdir(mode=0o700)
    copied: list[str] = []
    for directory in directories(str(source), _fail):
        step()
        here = target / os.path.relpath(directory, source)
        for name in os.listdir(directory):
            _copy_entry(Path(directory) / name, here / name, links)
        copied.append(directory)
    for directory in reversed(copied):  # last: copying changed the times
        _copy_attributes(Path(directory), target / os.path.relpath(directory, source))


def _fail(error: OSError) -> None:
    raise error


def _copy_entry(source: Path, target: Path, links: dict[tuple[int, int], Path]) -> None:
    found = source.lstat()
    identity = (found.st_dev, found.st_ino)
    mode = found.st_mode
    if stat.S_ISDIR(mode):
        target.mkdir(mode=0o700)
        return
    if found.st_nlink > 1:
        if identity in links:
            os.link(links[identity], target, follow_symlinks=False)
            return
        links[identity] = target
    if stat.S_ISLNK(mode):
        target.symlink_to(os.readlink(source))
    elif stat.S_ISREG(mode):
        _copy_content(source, target, found.st_size)
    elif not stat.S_ISSOCK(mode):
        os.mknod(target, mode, found.st_rdev)
    else:
        return
    _copy_attributes(source, target)


def _copy_content(source: Path, target: Path, size: int) -> None:
    """Within the kernel, sharing blocks where the file system can. Source: copy_file_range(2)."""
    with open(source, "rb") as old, open(target, "xb") as new:
        copied = 0
        while copied < size:
            count = os.copy_file_range(old.fileno(), new.fileno(), size - copied)
            if count == 0:
                break
            copied += count


def _copy_attributes(source: Path, target: Path) -> None:
    found = source.lstat()
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        for key in os.listxattr(source, follow_symlinks=False):
            os.setxattr(target, key, os.getxattr(source, key, follow_symlinks=False))
        os.chmod(target, stat.S_IMODE(found.st_mode))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def _open(home: Path, options: Mapping[str, str]) -> VfsStorage:
    for option in options:
        raise InvalidRequest(f"unknown storage option {option!r} for the vfs driver")
    layout = Layout(home)
    layout.open()
    return VfsStorage(layout)


async def open_driver(home: Path, options: Mapping[str, str]) -> VfsStorage:
    """The driver over `home`; works on any file system that can be written to."""
    try:
        return await trio.to_thread.run_sync(_open, home, options)
    except OSError as error:
        raise from_os_error(error, f"open vfs storage at {home}") from error
