"""Reading a rotated log back: from the right place, in runs, across files."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from drivers.log import jsonlines
from drivers.log.base import Entry, ReadQuery
from drivers.log.rotation import RotatingFile

_RUN_BYTES = 1024 * 1024
_BLOCK_BYTES = 64 * 1024


class Reader:
    """A place in the log that moves on; every call blocks."""

    def __init__(self, file: RotatingFile, query: ReadQuery) -> None:
        self._file = file
        self._query = query
        self._directory = file.hold_directory()
        self._current: BinaryIO | None = None
        self._rest = b""  # the beginning of a line that is not written completely
        self._generation: int | None = None  # None before the first run
        self.ended = False  # what follows is later than the query wants

    def next_run(self) -> list[Entry]:
        """The next entries, a bounded number; none if there are no more for now."""
        if self._generation is None:
            self._start()
        while not self.ended:
            data = self._read_lines()
            if data is None:
                return []
            entries = [e for line in data.splitlines(keepends=True) for e in self._wanted(line)]
            if entries:
                return entries
        return []

    def _start(self) -> None:
        """Go to the oldest file, or for `tail` to the line so far from the end."""
        oldest, newest = self._file.oldest_generation(self._directory), self._file.generation
        self._generation = oldest
        if self._query.tail is None:
            self._open()
            return
        missing = self._query.tail
        for generation in range(newest, oldest - 1, -1):
            self._generation, self._rest = generation, b""
            if not self._open():
                self._generation = generation + 1
                self._open()
                return
            missing = self._seek_from_end(missing)
            if missing == 0:
                return

    def _open(self) -> bool:
        self._leave()
        assert self._generation is not None
        self._current = self._file.open_generation(self._generation, self._directory)
        return self._current is not None

    def _seek_from_end(self, count: int) -> int:
        """Go to `count` matching lines before the end; how many there were too few."""
        assert self._current is not None
        if not self._current.seekable() or not hasattr(self._current, "raw"):
            self._current = io.BytesIO(self._current.read())  # gzip: its end is found by reading
        end = at = self._current.seek(0, io.SEEK_END)
        tail = b""
        while at > 0:
            step = min(_BLOCK_BYTES, at)
            at -= step
            self._current.seek(at)
            tail = self._current.read(step) + tail
            lines = tail.splitlines(keepends=True)
            whole = lines if at == 0 else lines[1:]
            wanted = [n for n, line in enumerate(whole) if self._counts(line)]
            if len(wanted) > count or (at == 0 and len(wanted) >= count):
                skipped = whole[wanted[-count] :] if count else []
                self._current.seek(end - sum(map(len, skipped)))
                return 0
            if at == 0:
                self._current.seek(0)
                return count - len(wanted)
        return count

    def _counts(self, line: bytes) -> bool:
        """Whether the line is one of those that `tail` counts."""
        query = self._query
        if query.since_ns is None and query.until_ns is None and len(query.sources) == 2:
            return line.endswith(b"\n")
        entry = jsonlines.parse(line)
        return entry is not None and _matches(query, entry)

    def _read_lines(self) -> bytes | None:
        """Whole lines of the present file or the next one; None if there are none for now."""
        assert self._generation is not None
        while True:
            # asked before reading: a file that is not the newest any more grows no more
            was_newest = self._generation >= self._file.generation
            data = self._current.read(_RUN_BYTES) if self._current is not None else b""
            if data:
                data = self._rest + data
                end = data.rfind(b"\n") + 1
                self._rest = data[end:]
                if end:
                    return data[:end]
                continue
            if was_newest:
                return None
            self._generation, self._rest = self._generation + 1, b""
            self._open()

    def _wanted(self, line: bytes) -> list[Entry]:
        """The entry of a line, if the query wants it."""
        entry = jsonlines.parse(line)
        if entry is None:
            return []
        if self._query.until_ns is not None and entry.time_ns > self._query.until_ns:
            self.ended = True
        return [entry] if _matches(self._query, entry) else []

    def _leave(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def close(self) -> None:
        """Let go of the files. Idempotent."""
        self._leave()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def _matches(query: ReadQuery, entry: Entry) -> bool:
    """Whether the query wants the entry."""
    return (
        entry.source in query.sources
        and (query.since_ns is None or entry.time_ns >= query.since_ns)
        and (query.until_ns is None or entry.time_ns <= query.until_ns)
    )
