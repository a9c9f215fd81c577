"""The contract of log drivers: where the output of containers goes, and how it is read back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

Source = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """Marks a batch that is one part of a line longer than the limit, as Docker marks it."""

    id: str  # the same for all parts of one line
    ordinal: int  # 1, 2, ...
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Output of one stream that was read at one moment.

    `data` is one or more whole lines, each with its newline (only the very last line of a stream
    may lack it); or, with `partial`, a piece of one line (no newline unless it is the last part).
    """

    data: bytes
    source: Source
    time_ns: int  # since the epoch, UTC
    partial: Partial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogContext:
    """Whose output it is, for tags, labels and file names."""

    container_id: str
    container_name: str
    image_id: str
    image_name: str
    directory: Path  # private to the container, exists; files of a driver live here
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One logged line (or part of one) as it is read back."""

    data: bytes  # with its newline, unless it is a part or the stream ended without one
    source: Source
    time_ns: int
    attrs: Mapping[str, str] = field(default_factory=dict)  # for `logs --details`


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadQuery:
    """Which entries to read: `since_ns` <= time <= `until_ns`, the last `tail` of them."""

    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None
    follow: bool = False
    sources: frozenset[Source] = frozenset({"stdout", "stderr"})


class LogDriver(Protocol):
    """Takes batches of one container, one at a time and in order.

    `log` raises DriverError when a batch could not be taken; the caller counts and goes on.
    """

    name: str

    def open(self) -> None:
        """Open the files it writes, before the first batch; blocks. Raises DriverError."""
        ...

    async def log(self, batch: Batch) -> None:
        """Take a batch; returns when the driver needs the next one."""
        ...

    async def close(self) -> None:
        """Flush and let go. Readers that follow end after the last entry. Idempotent."""
        ...


@runtime_checkable
class ReadableLogDriver(LogDriver, Protocol):
    """A log driver whose entries can be read back."""

    def read(
        self, query: ReadQuery
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Sequence[Entry]]]:
        """Entries in the order logged, in runs of a bounded size.

        With `follow` it goes on with what is logged later until the driver is closed.
        """
        ...
