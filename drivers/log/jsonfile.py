"""One JSON object a line in a file of the container's directory, rotated: Docker's default."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import trio

from drivers.errors import InvalidRequest, from_os_error
from drivers.log import jsonlines
from drivers.log.base import Batch, Entry, LogContext, ReadQuery
from drivers.log.reading import Reader
from drivers.log.rotation import RotatingFile
from drivers.threads import in_thread_or_here

DEFAULTS = {"max-size": "10m", "max-file": "3", "compress": "true"}

_OPTIONS = frozenset(
    {"max-size", "max-file", "compress", "labels", "env", "labels-regex", "env-regex"}
)
_SIZE = re.compile(r"(-1|\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_FILE_MODE = 0o640


class JsonFile:
    """Appends each batch with one write. The page cache is the only buffer."""

    name = "json-file"

    def __init__(self, open_file: Callable[[], RotatingFile], attrs: Mapping[str, str]) -> None:
        self._open_file = open_file
        self._file: RotatingFile | None = None  # until it is needed
        self._opening = threading.Lock()
        self._attrs = jsonlines.encode_attrs(attrs)
        self._writing = trio.CapacityLimiter(1)
        self._written = trio.Event()
        self._closed = False

    def open(self) -> None:
        self._opened()

    def _opened(self) -> RotatingFile:
        with self._opening:
            if self._file is None:
                try:
                    self._file = self._open_file()
                except OSError as error:
                    raise from_os_error(error, "open json-file log") from error
            return self._file

    async def log(self, batch: Batch) -> None:
        await in_thread_or_here(self._append, batch, limiter=self._writing)
        self._wake()

    def _append(self, batch: Batch) -> None:
        lines = jsonlines.frame(batch.data, batch.source, batch.time_ns, self._attrs)
        file = self._opened()
        try:
            file.append(lines)
        except OSError as error:
            raise from_os_error(error, "write to json-file log") from error

    def _wake(self) -> None:
        self._written.set()
        self._written = trio.Event()

    async def close(self) -> None:
        self._closed = True
        self._wake()
        if self._writing.borrowed_tokens:  # it was cancelled: what is being written is written
            async with self._writing:
                pass
        file = self._file
        if file is not None:
            if file.is_compressing:
                await in_thread_or_here(file.close)
            file.close()

    @contextlib.asynccontextmanager
    async def read(self, query: ReadQuery) -> AsyncIterator[AsyncIterator[Sequence[Entry]]]:
        reader = Reader(await trio.to_thread.run_sync(self._opened), query)
        try:
            yield self._entries(reader, query.follow)
        finally:
            reader.close()

    async def _entries(self, reader: Reader, follow: bool) -> AsyncIterator[Sequence[Entry]]:
        """Runs of entries; with `follow` it waits for more until the driver is closed."""
        while True:
            written, closed = self._written, self._closed
            entries = await trio.to_thread.run_sync(reader.next_run)
            if entries:
                yield entries
            elif reader.ended or not follow or closed:
                return
            else:
                await written.wait()


def validate(options: Mapping[str, str]) -> None:
    """Raise InvalidRequest for an option that is unknown or makes no sense, in Docker's words."""
    for option in options:
        if option not in _OPTIONS:
            raise InvalidRequest(f"unknown log opt '{option}' for json-file log driver")
    _max_bytes(options)
    _max_files(options)
    _compress(options)


def _max_bytes(options: Mapping[str, str]) -> int:
    text = options.get("max-size", DEFAULTS["max-size"])
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(f"invalid size: {text!r} for log opt max-size")
    if found[1] == "-1":
        return 0
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _max_files(options: Mapping[str, str]) -> int:
    text = options.get("max-file", DEFAULTS["max-file"])
    if not text.isdecimal() or int(text) < 1:
        raise InvalidRequest(f"max-file cannot be less than 1: {text}")
    return int(text)


def _compress(options: Mapping[str, str]) -> bool:
    text = options.get("compress", DEFAULTS["compress"])
    if text not in ("true", "false"):
        raise InvalidRequest(f"invalid value for log opt compress: {text!r} is not true or false")
    return text == "true"


def _attrs(context: LogContext, options: Mapping[str, str]) -> dict[str, str]:
    """The labels and variables that the options ask for."""
    chosen: dict[str, str] = {}
    for option, known in (("labels", context.labels), ("env", context.env)):
        wanted = [name for name in options.get(option, "").split(",") if name]
        chosen |= {name: known[name] for name in wanted if name in known}
        pattern = options.get(f"{option}-regex")
        if pattern:
            chosen |= {name: value for name, value in known.items() if re.search(pattern, name)}
    return chosen


async def open_driver(context: LogContext, options: Mapping[str, str]) -> JsonFile:
    """The driver; of a container that is not running it can be closed and read."""
    validate(options)

    def open_file() -> RotatingFile:
        return RotatingFile(
            str(context.directory),
            f"{context.container_id}-json.log",
            max_bytes=_max_bytes(options),
            max_files=_max_files(options),
            compress=_compress(options),
            mode=_FILE_MODE,
        )

    return JsonFile(open_file, _attrs(context, options))
