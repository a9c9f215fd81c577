"""Reading image archives: what `docker save` writes, old and new, and OCI layouts.

Every call blocks. An archive is looked into by member names and never unpacked as a whole; names
lead nowhere but into the archive. Sources: the OCI image specification, image-layout.md; Docker's
image specification v1.2, manifest.json.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from drivers.errors import CorruptData

_METADATA_BYTES = 16 * 1024 * 1024
_LINKS = 8
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_OPENERS: dict[str, Any] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedImage:
    """One image of an archive; `layers` are member names, lowest first."""

    config: bytes
    layers: tuple[str, ...]
    names: tuple[str, ...]


@contextmanager
def unpacked(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The stream without its compression, which its first bytes tell; by Python itself.

    No program is run for it: one of an image's, or of the host's, never sees the data.
    """
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    kind = next((name for magic, name in _MAGIC if head.startswith(magic)), "")
    if kind == "zstd":
        raise CorruptData("zstd compression is not supported: recompress with gzip")
    if not kind:
        yield stream
        return
    with _OPENERS[kind](stream) as opened:
        yield cast(BinaryIO, opened)


class Archive:
    """An archive that is open."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {posixpath.normpath(m.name): m for m in tar.getmembers()}

    def images(self) -> list[ArchivedImage]:
        """Every image. Raises CorruptData if it is no image archive, or parts are missing."""
        if "manifest.json" in self._members:
            return [self._docker_image(entry) for entry in self._json("manifest.json", list)]
        if "index.json" in self._members:
            return self._oci_images()
        raise CorruptData("not an image archive: neither manifest.json nor index.json is in it")

    def _docker_image(self, entry: dict[str, Any]) -> ArchivedImage:
        try:
            config, layers = str(entry["Config"]), tuple(str(x) for x in entry["Layers"] or ())
            names = tuple(str(name) for name in entry.get("RepoTags") or ())
        except (KeyError, TypeError) as error:
            raise CorruptData(f"manifest.json: {error!r} is missing or wrong") from error
        raw = self._read(config)
        _check_named_digest(config, raw)
        return ArchivedImage(config=raw, layers=layers, names=names)

    def _oci_images(self) -> list[ArchivedImage]:
        found: list[ArchivedImage] = []
        index = self._json("index.json", dict)
        try:
            for descriptor in index["manifests"]:
                manifest = json.loads(self._blob(descriptor))
                if "manifests" in manifest:
                    raise CorruptData("an index of several platforms: save one platform only")
                annotations = descriptor.get("annotations") or {}
                name = annotations.get("io.containerd.image.name") or annotations.get(
                    "org.opencontainers.image.ref.name"
                )
                found.append(
                    ArchivedImage(
                        config=self._blob(manifest["config"]),
                        layers=tuple(_blob_name(layer) for layer in manifest["layers"]),
                        names=(name,) if name and not name.isidentifier() else (),
                    )
                )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptData(f"index.json or a manifest is damaged: {error}") from error
        return found

    def _blob(self, descriptor: dict[str, Any]) -> bytes:
        """A small blob whose digest is right."""
        name = _blob_name(descriptor)
        raw = self._read(name)
        if len(raw) != descriptor["size"]:
            raise CorruptData(f"{name}: {len(raw)} bytes instead of {descriptor['size']}")
        _check_named_digest(name, raw)
        return raw

    def _json(self, name: str, kind: type) -> Any:
        try:
            value = json.loads(self._read(name))
        except (ValueError, RecursionError) as error:
            raise CorruptData(f"{name}: not JSON: {error}") from error
        if not isinstance(value, kind):
            raise CorruptData(f"{name}: not the {kind.__name__} that it must be")
        return value

    def _read(self, name: str) -> bytes:
        with self.open(name) as file:
            raw = file.read(_METADATA_BYTES + 1)
        if len(raw) > _METADATA_BYTES:
            raise CorruptData(f"{name}: larger than {_METADATA_BYTES} bytes")
        return raw

    def open(self, name: str) -> BinaryIO:
        """The content of a member, as it is. Raises CorruptData if it is not there."""
        for _ in range(_LINKS):  # `docker save` of old links a layer that occurs twice
            member = self._members.get(posixpath.normpath(name))
            if member is None:
                raise CorruptData(f"image archive: {name} is missing")
            if not member.issym():
                file = self._tar.extractfile(member)
                if file is not None:
                    return cast(BinaryIO, file)
                break
            name = posixpath.join(posixpath.dirname(member.name), member.linkname)
        raise CorruptData(f"image archive: {name} is no file")


@contextmanager
def open_archive(file: BinaryIO) -> Iterator[Archive]:
    """Open an archive, compressed or not. Raises CorruptData for one that is damaged."""
    try:
        with unpacked(file) as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            yield Archive(tar)
    except _DAMAGED as error:
        raise CorruptData(f"image archive is damaged or cut off: {error}") from error


class HashedReader(io.RawIOBase):
    """Passes a stream on and computes its SHA-256."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        """The digest of the whole stream; what has not been read yet is read."""
        while self.read(1024 * 1024):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def digest_of(raw: bytes) -> str:
    """The digest as OCI writes it."""
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _blob_name(descriptor: dict[str, Any]) -> str:
    algorithm, _, value = str(descriptor["digest"]).partition(":")
    return f"blobs/{algorithm}/{value}"


def _check_named_digest(name: str, raw: bytes) -> None:
    """A member that is named by its digest must have it."""
    base = posixpath.basename(name).removesuffix(".json")
    if len(base) == 64 and digest_of(raw) != f"sha256:{base}":
        raise CorruptData(f"{name}: digest mismatch: its content has {digest_of(raw)}")
