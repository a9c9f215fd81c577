"""From a stream of bytes to batches of whole lines: one task for each stream of a container."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import time
from collections.abc import Awaitable, Callable

from drivers.log.base import Batch, Partial, Source
from supervisor.output import Output

LINE_LIMIT_BYTES = 16 * 1024  # Docker's: a longer line is passed on in parts
NARROW_BYTES = 64 * 1024  # what a pipe holds at first; who fills it gets a wider one
PIPE_BYTES = 1024 * 1024  # /proc/sys/fs/pipe-max-size allows every user as much

Deliver = Callable[[Batch], Awaitable[None]]
Live = Callable[[Source, bytes], None]


async def copy_stream(
    output: Output,
    source: Source,
    *,
    live: Live,
    deliver: Deliver,
    line_limit_bytes: int = LINE_LIMIT_BYTES,
) -> None:
    """Read `output`, which it owns, to its end.

    `live` gets every chunk at once; `deliver` gets batches: what has no newline yet waits for it,
    for the limit, or for the end. Memory stays below a few times READ_BYTES whatever is written.
    """
    cutter = Cutter(source, line_limit_bytes)
    with output:
        is_wide = False
        while chunk := await output.receive():
            if not is_wide and len(chunk) >= NARROW_BYTES:
                is_wide = True
                _widen(output.fd)
            live(source, chunk)
            for batch in cutter.feed(chunk, time.time_ns()):
                await deliver(batch)
        for batch in cutter.finish(time.time_ns()):
            await deliver(batch)


def _widen(fd: int) -> None:
    """Let the container write ahead by more than 64 KiB; where that is not allowed, so be it."""
    # EPERM: the share of pipe memory is used up (pipe(7)); EBADF: it is a terminal
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class Cutter:
    """Cuts what is read at newlines; knows nothing of files or tasks."""

    def __init__(self, source: Source, line_limit_bytes: int) -> None:
        self._source = source
        self._limit = line_limit_bytes
        self._rest = b""  # the beginning of a line, shorter than the limit
        self._long_id = ""  # of the line that is being passed on in parts
        self._ordinal = 0

    def feed(self, chunk: bytes, time_ns: int) -> list[Batch]:
        """The batches that `chunk` completes."""
        data = self._rest + chunk
        end = data.rfind(b"\n") + 1
        batches = self._whole_lines(data[:end], time_ns) if end else []
        self._rest = data[end:]
        while len(self._rest) > self._limit:
            batches.append(self._part(self._rest[: self._limit], time_ns, last=False))
            self._rest = self._rest[self._limit :]
        return batches

    def finish(self, time_ns: int) -> list[Batch]:
        """The last line, which has no newline, if there is one."""
        rest, self._rest = self._rest, b""
        if self._long_id:
            return [self._part(rest, time_ns, last=True)]
        return [Batch(data=rest, source=self._source, time_ns=time_ns)] if rest else []

    def _whole_lines(self, data: bytes, time_ns: int) -> list[Batch]:
        """Batches of data that ends with a newline."""
        batches: list[Batch] = []
        if self._long_id:
            cut = data.index(b"\n") + 1
            batches += self._long_line(data[:cut], time_ns)
            data = data[cut:]
        if len(data) > self._limit:
            batches += self._with_long_lines(data, time_ns)
        elif data:
            batches.append(Batch(data=data, source=self._source, time_ns=time_ns))
        return batches

    def _with_long_lines(self, data: bytes, time_ns: int) -> list[Batch]:
        """Batches of data in which some lines may be longer than the limit.

        Looks at one newline in every `limit` bytes only: between two that are less than the
        limit apart no line is too long.
        """
        batches: list[Batch] = []
        start = at = 0  # data[start:at] is whole lines, all short enough
        while at < len(data):
            newline = data.rfind(b"\n", at, at + self._limit + 1)
            if newline >= 0:
                at = newline + 1
                continue
            if at > start:
                batches.append(Batch(data=data[start:at], source=self._source, time_ns=time_ns))
            end = data.index(b"\n", at) + 1
            batches += self._long_line(data[at:end], time_ns)
            start = at = end
        if at > start:
            batches.append(Batch(data=data[start:at], source=self._source, time_ns=time_ns))
        return batches

    def _long_line(self, line: bytes, time_ns: int) -> list[Batch]:
        """The parts of a line with its newline; the limit does not count the newline."""
        parts: list[Batch] = []
        while len(line) - 1 > self._limit:
            parts.append(self._part(line[: self._limit], time_ns, last=False))
            line = line[self._limit :]
        parts.append(self._part(line, time_ns, last=True))
        return parts

    def _part(self, data: bytes, time_ns: int, *, last: bool) -> Batch:
        self._long_id = self._long_id or secrets.token_hex(32)
        self._ordinal += 1
        partial = Partial(id=self._long_id, ordinal=self._ordinal, last=last)
        if last:
            self._long_id, self._ordinal = "", 0
        return Batch(data=data, source=self._source, time_ns=time_ns, partial=partial)
