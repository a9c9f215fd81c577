"""The contract of storage drivers: layers of files, and root file systems made of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol


class ChangeKind(enum.IntEnum):
    """What happened to a path. The numbers are those of Docker's `GET /containers/{id}/changes`."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One difference between a layer and its parent; `path` is absolute in the container."""

    path: str
    kind: ChangeKind


class ProtoDriver(Protocol):
    """Keeps file systems by key, each a child of another or empty.

    Every call but `put` blocks, and is made in a thread of trio's: whoever needs several makes them
    in one. What takes long asks at times whether it has been cancelled (trio.from_thread).

    A key is 1 to 128 characters of [a-z0-9-]. Every operation is complete or absent: what a
    crash interrupts is debris that the next start sweeps. Errors: AlreadyExists, NotFound, InUse
    (removing what others are made over, or something that is mounted), NoSpace.
    """

    name: str
    shows_beneath: bool  # whether `create` does anything with `beneath`

    def create(self, key: str, parent: str | None, beneath: str | None = None) -> None:
        """A new writable file system that shows the content of `parent`.

        Where there is nothing in that, what is in `beneath` is shown, a key that is over nothing:
        by a driver whose file systems share their files, not by one that copies.
        """
        ...

    def remove(self, key: str) -> None:
        """Delete it for good. NotFound if there is none."""
        ...

    def get(self, key: str, userns_fd: int | None = None) -> int:
        """A detached mount of the file system: a file descriptor, nothing attached anywhere.

        The caller owns the descriptor and pairs each `get` with one `put`, after which closing
        the descriptor frees the mount. With `userns_fd` owners are seen, and new files owned,
        through that user namespace's maps, while on disk they stay as they are: raises
        IncompatibleFilesystem where that cannot be.
        """
        ...

    def put(self, key: str) -> None:
        """The caller has closed what `get` gave, and nothing uses it. Does not block."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is a complete file system of this key."""
        ...

    def keys(self) -> list[str]:
        """Every complete file system, in no particular order."""
        ...

    def status(self) -> list[tuple[str, str]]:
        """Facts for `docker info`, as pairs in the order to show."""
        ...

    def metadata(self, key: str) -> Mapping[str, str]:
        """Facts for `docker inspect` (GraphDriver.Data)."""
        ...

    def cleanup(self) -> None:
        """Release what the driver itself holds; called once, at shutdown."""
        ...


class StorageDriver(ProtoDriver, Protocol):
    """A ProtoDriver that can also tell and take differences, as tar streams.

    Streams are OCI layers: uncompressed tar, deletions as `.wh.` entries. Source: the OCI image
    specification, "Image Layer Filesystem Changeset".
    """

    def apply_diff(self, key: str, parent: str | None, layer: BinaryIO) -> int:
        """Create `key` over `parent` from a layer; returns the bytes of file content unpacked.

        Nothing outside the new file system changes whatever the stream holds; a hostile or
        damaged stream raises CorruptData and leaves nothing.
        """
        ...

    def diff(self, key: str, parent: str | None, out: BinaryIO) -> None:
        """Write what `key` adds to `parent` as a layer."""
        ...

    def changes(self, key: str, parent: str | None) -> list[Change]:
        """What differs from `parent`, sorted by path; a directory only if it does so itself."""
        ...

    def diff_size(self, key: str, parent: str | None) -> int:
        """Bytes of file content that `key` adds to `parent`."""
        ...
