"""What must survive a reboot: containers as they were asked for, and how they are doing.

SQLite in WAL mode, `state.db` below the daemon's root. A new or removed container is on disk when
the call returns; a change of its record is written soon after, by one writer task, together with
others: who lives for a moment is not written four times.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import trio

from drivers.errors import CorruptData, DriverError, NoSpace
from drivers.threads import in_thread_or_here
from supervisor import log
from supervisor.spec import ContainerSpec
from supervisor.states import Record

SCHEMA_VERSION = 1
GATHER_S = 0.002  # from a change to its writing, unless there is another ...
LONGEST_S = 0.02  # ... until then
RETRY_S = 1.0
# Source: sqlite.org/rescode.html; the file of shared memory is made as large as it takes.
_NO_SPACE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_SCHEMA = """
CREATE TABLE IF NOT EXISTS containers (
    id TEXT PRIMARY KEY,
    spec BLOB NOT NULL,
    record BLOB NOT NULL
) STRICT;
"""
_ADD = "INSERT OR REPLACE INTO containers (id, spec, record) VALUES (?, ?, ?)"
# of one that is removed meanwhile nothing is changed: no row comes back
_CHANGE = "UPDATE containers SET spec = ?2, record = ?3 WHERE id = ?1"
_REMOVE = "DELETE FROM containers WHERE id = ?"


class Store:
    """The database. `load`, `save` and `delete` block: they are made in a thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._one_at_a_time = threading.Lock()
        self._changed: dict[str, tuple[ContainerSpec, Record]] = {}  # and not written yet
        self._work = trio.Event()
        self._newest = 0.0  # change: when it was, by trio's clock

    def close(self) -> None:
        """Write what is not written yet and close."""
        try:
            self._write_changes(self._changed)
        except DriverError as error:
            log.error("store.not_written", error=error)
        self._database.close()

    def save(self, spec: ContainerSpec, record: Record) -> None:
        """Store a container that is new."""
        with self._transaction():
            self._database.execute(_ADD, _row(spec, record))

    def delete(self, container_id: str) -> None:
        """Forget a container."""
        with self._transaction():
            self._database.execute(_REMOVE, (container_id,))

    def save_soon(self, spec: ContainerSpec, record: Record) -> None:
        """Store a change with the next run of the writer."""
        self._changed[spec.id] = (spec, record)
        self._newest = trio.current_time()
        self._work.set()

    def drop_changes(self, container_id: str) -> None:
        """Do not write what is not written yet: it is being removed."""
        self._changed.pop(container_id, None)

    async def write_changes(self) -> None:
        """The writer task: never ends."""
        while True:
            await self._work.wait()
            await self._gather()
            self._work = trio.Event()
            try:
                await self._write_present_changes()
            except DriverError as error:
                log.error("store.not_written", error=error)
                await trio.sleep(RETRY_S)  # room on a disk announces itself by no descriptor
                self._work.set()

    async def _gather(self) -> None:
        """Wait until there has been no change for a moment, or for long enough."""
        longest = trio.current_time() + LONGEST_S
        # each change is a few microseconds' work: it wakes nobody
        while (until := min(self._newest + GATHER_S, longest)) > trio.current_time():  # noqa: ASYNC110
            await trio.sleep_until(until)

    async def _write_present_changes(self) -> None:
        changed = dict(self._changed)
        if changed:
            await in_thread_or_here(self._write_changes, changed)
        for container_id, pair in changed.items():
            if self._changed.get(container_id) is pair:  # not changed again meanwhile
                del self._changed[container_id]

    def load(self) -> list[tuple[ContainerSpec, Record]]:
        """Every container stored. Raises CorruptData if one cannot be read."""
        rows = self._database.execute("SELECT id, spec, record FROM containers").fetchall()
        try:
            return [
                (
                    msgspec.json.decode(spec, type=ContainerSpec),
                    msgspec.json.decode(record, type=Record),
                )
                for _, spec, record in rows
            ]
        except msgspec.DecodeError as error:
            raise CorruptData(f"state.db: a stored container cannot be read: {error}") from error

    def _write_changes(self, changed: dict[str, tuple[ContainerSpec, Record]]) -> None:
        rows = [_row(spec, record) for spec, record in changed.values()]
        with self._transaction():
            self._database.executemany(_CHANGE, rows)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Raises NoSpace or DriverError for what SQLite cannot write."""
        try:
            with self._one_at_a_time, self._database:
                yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in _NO_SPACE:
                raise NoSpace(f"state.db: no space left on device: {error}") from error
            name = error.sqlite_errorname
            raise DriverError(f"state.db cannot be written: {error} ({name})") from error


def open_store(path: Path) -> Store:
    """Open or make the database. Raises CorruptData if it is none, or a newer version's."""
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        # NORMAL: a power loss may cost the last commits, never the database's consistency.
        database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise CorruptData(f"{path}: written by a newer version of creche (schema {version})")
        database.executescript(f"{_SCHEMA} PRAGMA user_version={SCHEMA_VERSION};")
    except sqlite3.DatabaseError as error:
        database.close()
        raise CorruptData(f"{path}: not a usable database: {error}") from error
    except CorruptData:
        database.close()
        raise
    return Store(database)


def _row(spec: ContainerSpec, record: Record) -> tuple[str, bytes, bytes]:
    return spec.id, msgspec.json.encode(spec), msgspec.json.encode(record)
