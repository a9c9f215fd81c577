"""What is stored of containers, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.errors import DriverError, NoSpace
from supervisor.spec import ContainerSpec
from supervisor.states import Record, State
from supervisor.store import GATHER_S, Store, open_store

SPEC = ContainerSpec(id="a" * 64, name="aa")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "state.db")
    yield opened
    opened.close()


def states(store: Store) -> list[State]:
    return [record.state for _, record in store.load()]


async def test_changes_are_gathered_and_the_last_is_written(
    store: Store, autojump_clock: MockClock
) -> None:
    store.save(SPEC, Record())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.write_changes)
        for state in (State.STARTING, State.RUNNING, State.EXITED):
            store.save_soon(SPEC, Record(state=state))
            await trio.sleep(GATHER_S / 10)
        assert states(store) == [State.CREATED]
        await trio.sleep(2 * GATHER_S)
        nursery.cancel_scope.cancel()  # what is being written is written
    assert states(store) == [State.EXITED]


async def test_what_is_not_written_yet_is_when_the_store_closes(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state.db")
    store.save(SPEC, Record())
    store.save_soon(SPEC, Record(state=State.STOPPED))
    store.close()
    again = open_store(tmp_path / "state.db")
    assert states(again) == [State.STOPPED]
    again.close()


async def test_a_late_change_brings_nobody_back(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state.db")
    store.save(SPEC, Record())
    store.save_soon(SPEC, Record(state=State.EXITED))
    store.delete(SPEC.id)
    store.close()
    again = open_store(tmp_path / "state.db")
    assert states(again) == []
    again.close()


def test_what_is_told_of_a_failure_is_what_it_was(store: Store) -> None:
    store._database.execute("PRAGMA query_only = 1")
    with pytest.raises(DriverError, match=r"state.db cannot be written: .* \(SQLITE_READONLY\)"):
        store.save(SPEC, Record())
    store._database.execute("PRAGMA query_only = 0")
    store._database.execute("PRAGMA max_page_count = 1")
    labels = {"long": "x" * 100_000}
    with pytest.raises(NoSpace, match="no space left on device"):
        store.save(ContainerSpec(id=SPEC.id, name="aa", labels=labels), Record())
