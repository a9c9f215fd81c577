"""Packing a layer: what differs from the parent, as a tar stream."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from drivers.storage.base import Change, ChangeKind
from drivers.storage.unpack import WHITEOUT

_SKIPPED_XATTRS = ("trusted.overlay.", "user.overlay.", "system.", "security.selinux")


def pack(out: BinaryIO, root: Path, changes: Iterable[Change], *, step: Callable[[], None]) -> None:
    """Write the changed paths of `root`, sorted by path, as an OCI layer."""
    hard_links: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for change in changes:
            step()
            name = change.path.lstrip("/")
            if change.kind is ChangeKind.DELETED:
                directory, base = os.path.split(name)
                tar.addfile(tarfile.TarInfo(os.path.join(directory, WHITEOUT + base)))
            else:
                _add(tar, root / name, name, hard_links)


def _add(
    tar: tarfile.TarFile, path: Path, name: str, hard_links: dict[tuple[int, int], str]
) -> None:
    found = path.lstat()
    if stat.S_ISSOCK(found.st_mode):
        return
    member = tar.gettarinfo(path, arcname=name)
    member.uname = member.gname = ""  # names are the container's, not this host's
    headers = {"mtime": f"{found.st_mtime_ns // 10**9}.{found.st_mtime_ns % 10**9:09d}"}
    if not path.is_symlink():
        for key in os.listxattr(path, follow_symlinks=False):
            if not key.startswith(_SKIPPED_XATTRS):
                value = os.getxattr(path, key, follow_symlinks=False)
                headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
    member.pax_headers = headers
    identity = (found.st_dev, found.st_ino)
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        if identity in hard_links:
            member.type, member.linkname, member.size = tarfile.LNKTYPE, hard_links[identity], 0
            tar.addfile(member)
            return
        hard_links[identity] = name
        member.type, member.size = tarfile.REGTYPE, found.st_size
    if member.isreg():
        with open(path, "rb") as file:
            tar.addfile(member, file)
    else:
        tar.addfile(member)
