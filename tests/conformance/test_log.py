"""What every log driver does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers import registry
from drivers.errors import InvalidRequest
from drivers.log import jsonfile, none
from drivers.log.base import Batch, Entry, LogContext, LogDriver, ReadableLogDriver, ReadQuery
from tests.cancel import cancel_everywhere

pytestmark = pytest.mark.same_everywhere

Open = Callable[[LogContext, Mapping[str, str]], Awaitable[LogDriver]]


@dataclass(frozen=True)
class Row:
    """A driver, how it is opened, and what it cannot."""

    name: str
    open: Open
    lacks: frozenset[str] = frozenset()


ROWS = [Row("json-file", jsonfile.open_driver), Row("none", none.open_driver, frozenset({"read"}))]


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


@pytest.fixture
def context(tmp_path: Path) -> LogContext:
    return LogContext(
        container_id="c" * 64,
        container_name="name",
        image_id="sha256:x",
        image_name="image",
        directory=tmp_path,
        labels={"tier": "web"},
        env={"A": "1"},
    )


@pytest.fixture
async def driver(row: Row, context: LogContext) -> AsyncIterator[LogDriver]:
    opened = await row.open(context, {})
    yield opened
    await opened.close()


def batch(data: bytes, *, time_ns: int = 1, source: str = "stdout") -> Batch:
    return Batch(data=data, time_ns=time_ns, source=source)  # type: ignore[arg-type]


async def entries(driver: LogDriver, query: ReadQuery) -> list[Entry]:
    assert isinstance(driver, ReadableLogDriver)
    found: list[Entry] = []
    async with driver.read(query) as runs:
        async for run in runs:
            found += run
    return found


def test_every_registered_driver_has_a_row() -> None:
    assert set(registry.BUILT_IN["log"]) == {row.name for row in ROWS}


async def test_batches_are_taken_and_closing_twice_is_harmless(driver: LogDriver) -> None:
    await driver.log(batch(b"one\ntwo\n"))
    await driver.log(batch(b"\xff\x00 no utf-8\n", source="stderr"))
    await driver.close()
    await driver.close()


async def test_what_was_logged_is_read_back_in_order(row: Row, driver: LogDriver) -> None:
    await driver.log(batch(b"one\ntwo\n", time_ns=1))
    await driver.log(batch(b"three\n", time_ns=2, source="stderr"))
    if "read" in row.lacks:
        assert not isinstance(driver, ReadableLogDriver)
        return
    found = await entries(driver, ReadQuery())
    assert [(e.data, e.source, e.time_ns) for e in found] == [
        (b"one\n", "stdout", 1),
        (b"two\n", "stdout", 1),
        (b"three\n", "stderr", 2),
    ]


async def test_an_unknown_option_is_refused_in_dockers_words(row: Row, context: LogContext) -> None:
    with pytest.raises(InvalidRequest, match=f"unknown log opt 'foo' for {row.name} log driver"):
        await row.open(context, {"foo": "1"})


async def test_cancelled_at_any_step_it_can_be_opened_again(
    row: Row, context: LogContext, tmp_path: Path
) -> None:
    async def work() -> None:
        driver = await row.open(context, {})
        try:
            await driver.log(batch(b"line\n"))
        finally:
            await driver.close()

    async def check() -> None:
        again = await row.open(context, {})
        await again.close()

    await cancel_everywhere(work, check)
