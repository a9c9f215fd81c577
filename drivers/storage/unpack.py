"""Unpacking a layer: an untrusted tar stream into a directory, and nothing anywhere else.

Every name is resolved by openat2(2) below the directory, symlinks as a chroot would; the last part
of a name is never followed. Kept: owner, mode with setuid, times, extended attributes but those of
overlay itself, device nodes. Sockets are skipped. Source: the OCI image specification, layer.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import stat
import tarfile
from collections.abc import Callable
from typing import BinaryIO, Protocol

from drivers.errors import CorruptData
from drivers.kernel.path import makedirs_in_root, openat2
from drivers.kernel.tree import remove_tree

MAX_ENTRIES = 1_000_000
MAX_PATH_BYTES = 4096
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"

_COPY_BYTES = 1024 * 1024
_XATTR = "SCHILY.xattr."
_OWN_XATTRS = ("trusted.overlay.", "user.overlay.")  # would change what overlay shows


class Whiteouts(Protocol):
    """How a driver records that a layer deletes something."""

    def delete(self, parent_fd: int, name: str) -> None:
        """`name` of the parents is not there any more."""
        ...

    def hide_all(self, directory_fd: int) -> None:
        """Nothing of the parents shows through this directory."""
        ...


def unpack(layer: BinaryIO, root: str, whiteouts: Whiteouts, *, step: Callable[[], None]) -> int:
    """Unpack `layer` into the directory `root`; the bytes of file content.

    `step` is called before each entry and may raise to end it. Raises CorruptData for a damaged
    or hostile stream, OSError for what the disk refuses.
    """
    return _Unpacker(root, whiteouts).run(layer, step)


class _Unpacker:
    def __init__(self, root: str, whiteouts: Whiteouts) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._whiteouts = whiteouts
        self._parent = (".", os.dup(self._root))  # the last directory that was written to
        self._times: dict[str, int] = {}  # of directories: set last, as entries change them
        self._size_bytes = 0

    def run(self, layer: BinaryIO, step: Callable[[], None]) -> int:
        try:
            with tarfile.open(fileobj=layer, mode="r|", bufsize=_COPY_BYTES) as tar:
                for count, member in enumerate(tar):
                    step()
                    if count >= MAX_ENTRIES:
                        raise CorruptData(f"layer has more than {MAX_ENTRIES} entries")
                    self._unpack(tar, member)
            self._set_directory_times()
        except (tarfile.TarError, EOFError, UnicodeError) as error:
            raise CorruptData(f"layer is not a valid tar archive: {error}") from error
        finally:
            os.close(self._parent[1])
            os.close(self._root)
        return self._size_bytes

    def _unpack(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = _inside(member.name)
        if path == ".":
            self._finish(member, self._root, ".", ".")
            return
        directory, name = posixpath.split(path)
        parent = self._directory(directory or ".")
        if name == OPAQUE:
            self._whiteouts.hide_all(parent)
        elif name.startswith(WHITEOUT):
            _remove(parent, _plain(name.removeprefix(WHITEOUT)))
            self._whiteouts.delete(parent, _plain(name.removeprefix(WHITEOUT)))
        else:
            self._make(tar, member, parent, name)
            if not member.islnk() and _is_kept(member):
                self._finish(member, parent, name, path)

    def _directory(self, path: str) -> int:
        """A descriptor of a directory of the layer, made if missing."""
        if self._parent[0] != path:
            try:
                fd = makedirs_in_root(self._root, path)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise CorruptData(f"layer: {path} leads through what is no directory") from error
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise CorruptData(f"layer: {path} is an endless chain of links") from error
            os.close(self._parent[1])
            # not O_PATH: extended attributes are set through it
            self._parent = (path, os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd))
            os.close(fd)
        return self._parent[1]

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        """Make the entry itself, in place of whatever has its name."""
        if member.isdir():
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                    return
            _remove(parent, name)
            os.mkdir(name, 0o700, dir_fd=parent)
            return
        _remove(parent, name)
        if member.isreg():
            self._write(tar, member, parent, name)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            self._link(member, parent, name)
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=parent)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            device = os.makedev(member.devmajor, member.devminor)
            os.mknod(name, 0o600 | kind, device, dir_fd=parent)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        source = tar.extractfile(member)
        assert source is not None
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
            if file.tell() != member.size:
                raise CorruptData(f"layer ends within {member.name}")
        self._size_bytes += member.size

    def _link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        """A hard link to what the layer has already; the target's last part is not followed."""
        directory, target = posixpath.split(_inside(member.linkname))
        try:
            source = openat2(self._root, directory or ".", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise CorruptData(f"hard link {member.name} to {member.linkname}: {error}") from error
        try:
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise CorruptData(
                f"hard link {member.name} to {member.linkname}: not in the layer"
            ) from error
        finally:
            os.close(source)

    def _finish(self, member: tarfile.TarInfo, parent: int, name: str, path: str) -> None:
        """Owner, attributes, mode and time; in this order, for chown clears setuid."""
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if not member.issym():
            self._set_xattrs(member, parent, name)
            os.chmod(name, stat.S_IMODE(member.mode), dir_fd=parent)
        time_ns = _mtime_ns(member)
        if member.isdir():
            self._times[path] = time_ns
        else:
            os.utime(name, ns=(time_ns, time_ns), dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        wanted = {
            key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
            for key, value in member.pax_headers.items()
            if key.startswith(_XATTR)
        }
        if not wanted or not (member.isreg() or member.isdir()):
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            for key, value in wanted.items():
                if not key.startswith(_OWN_XATTRS):
                    os.setxattr(fd, key, value)
        finally:
            os.close(fd)

    def _set_directory_times(self) -> None:
        for path, time_ns in reversed(self._times.items()):
            try:
                fd = openat2(self._root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue  # a later entry of the layer took its place
            os.utime(fd, ns=(time_ns, time_ns))
            os.close(fd)


def _inside(name: str) -> str:
    """The name relative to the layer. Raises CorruptData for one that climbs out or is too long."""
    path = posixpath.normpath(name.lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        raise CorruptData(f"layer entry {name!r} is outside of the layer")
    if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise CorruptData(f"layer entry with a name longer than {MAX_PATH_BYTES} bytes")
    if "\0" in path:
        raise CorruptData(f"layer entry {name!r} has a NUL in its name")
    return path


def _plain(name: str) -> str:
    if name in ("", ".", ".."):
        raise CorruptData(f"layer has a whiteout of {name!r}")
    return name


def _is_kept(member: tarfile.TarInfo) -> bool:
    return member.isreg() or member.isdir() or member.issym() or member.isfifo() or member.isdev()


def _remove(parent: int, name: str) -> None:
    """Remove whatever has the name, a directory with all that is in it."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        remove_tree(name, dir_fd=parent)


def _mtime_ns(member: tarfile.TarInfo) -> int:
    """The time with all the digits that a pax header has."""
    text = member.pax_headers.get("mtime")
    if text is None:
        return int(member.mtime) * 1_000_000_000
    whole, _, fraction = text.partition(".")
    try:
        return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)
    except ValueError as error:
        raise CorruptData(f"layer entry {member.name!r} has the time {text!r}") from error
