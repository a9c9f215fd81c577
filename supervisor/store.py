"""What must survive a reboot: containers as they were asked for, and how they are doing.

SQLite in WAL mode, `state.db` below the daemon's root. A new or removed container is on disk when
the call returns; a change of its record is written soon after, by one writer task.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import trio

from drivers.errors import CorruptData, NoSpace
from drivers.threads import in_thread_or_here
from supervisor import log
from supervisor.spec import ContainerSpec
from supervisor.states import Record

SCHEMA_VERSION = 1
RETRY_S = 1.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS containers (
    id TEXT PRIMARY KEY,
    spec BLOB NOT NULL,
    record BLOB NOT NULL
) STRICT;
"""
_SAVE = "INSERT OR REPLACE INTO containers (id, spec, record) VALUES (?, ?, ?)"


class Store:
    """The database; every call runs in a thread, one at a time."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._changed: dict[str, tuple[ContainerSpec, Record]] = {}
        self._work = trio.Event()

    def close(self) -> None:
        """Write what is not written yet and close."""
        try:
            self._write_changed()
        except NoSpace as error:
            log.error("store.full", error=error)
        self._database.close()

    async def load(self) -> list[tuple[ContainerSpec, Record]]:
        """Every container stored. Raises CorruptData if one cannot be read."""
        return await trio.to_thread.run_sync(self._load, limiter=self._one_at_a_time)

    async def save(self, spec: ContainerSpec, record: Record) -> None:
        """Store a container now."""
        self._changed.pop(spec.id, None)
        rows = [_row(spec, record)]
        await in_thread_or_here(self._write, rows, limiter=self._one_at_a_time)

    def save_soon(self, spec: ContainerSpec, record: Record) -> None:
        """Store a change with the next run of the writer."""
        self._changed[spec.id] = (spec, record)
        self._work.set()

    async def delete(self, container_id: str) -> None:
        """Forget a container now."""
        self._changed.pop(container_id, None)
        await in_thread_or_here(self._delete, container_id, limiter=self._one_at_a_time)

    async def write_changes(self) -> None:
        """The writer task: never ends."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            try:
                await in_thread_or_here(self._write_changed, limiter=self._one_at_a_time)
            except NoSpace as error:
                log.error("store.full", error=error)
                await trio.sleep(RETRY_S)  # room on a disk announces itself by no descriptor
                self._work.set()

    def _load(self) -> list[tuple[ContainerSpec, Record]]:
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

    def _write_changed(self) -> None:
        changed, self._changed = self._changed, {}
        try:
            self._write([_row(spec, record) for spec, record in changed.values()])
        except NoSpace:
            self._changed = {**changed, **self._changed}
            raise

    def _write(self, rows: list[tuple[str, bytes, bytes]]) -> None:
        with _told_if_full(), self._database:
            self._database.executemany(_SAVE, rows)

    def _delete(self, container_id: str) -> None:
        with _told_if_full(), self._database:
            self._database.execute("DELETE FROM containers WHERE id = ?", (container_id,))


@contextlib.contextmanager
def _told_if_full() -> Iterator[None]:
    """NoSpace for what SQLite cannot write."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise NoSpace(f"state.db: no space left on device: {error}") from error


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
