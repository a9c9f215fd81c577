"""Layers as tar streams, made in memory for tests."""

from __future__ import annotations

import io
import tarfile


def entry(
    name: str,
    data: bytes | None = None,
    *,
    type: bytes | None = None,
    link: str = "",
    mode: int | None = None,
    uid: int = 0,
    device: tuple[int, int] = (0, 0),
    pax: dict[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry: a directory without data, a file with data, or of a type."""
    member = tarfile.TarInfo(name)
    member.type = type or (tarfile.DIRTYPE if data is None else tarfile.REGTYPE)
    member.mode = mode if mode is not None else (0o755 if member.isdir() else 0o644)
    member.uid = member.gid = uid
    member.mtime = 1_000_000_000
    member.linkname = link
    member.devmajor, member.devminor = device
    member.size = len(data or b"")
    member.pax_headers = pax or {}
    return member, data or b""


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    """The stream, from its beginning."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in entries:
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    out.seek(0)
    return out


def names(stream: io.BytesIO) -> list[str]:
    """The names in a layer, in its order."""
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        return [member.name for member in tar]


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    return entry(name, type=tarfile.SYMTYPE, link=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A hard link."""
    return entry(name, type=tarfile.LNKTYPE, link=target)
