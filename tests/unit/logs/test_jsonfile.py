"""Docker's format byte for byte, rotation, and reading back."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.errors import DriverError, InvalidRequest
from drivers.log import jsonlines
from drivers.log.base import Batch, Entry, LogContext, ReadQuery
from drivers.log.jsonfile import JsonFile, open_driver
from drivers.log.rotation import RotatingFile
from tests.shortage import without_descriptors

# What dockerd 20.10 wrote for the same bytes, but for what is no UTF-8.
RECORDED = (
    (b"\x01\x08\t\n", rb"\u0001\u0008\u0009\n"),
    (
        b"\x0b\x0c\r\x1b\x1f <>&\"'\\^\x7f(\xe2\x80\xa8\xe2\x80\xa9\xc3\xa9x\n",
        rb"\u000b\u000c\r\u001b\u001f \u003c\u003e\u0026\"'\\^" + b"\x7f(" + rb"\u2028\u2029"
        b"\xc3\xa9x" + rb"\n",
    ),
    (b"\x00z\n", rb"\u0000z\n"),
    (b"nonl", b"nonl"),
)


@pytest.mark.parametrize(("data", "escaped"), RECORDED)
def test_lines_are_dockers_byte_for_byte(data: bytes, escaped: bytes) -> None:
    framed = jsonlines.frame(data, "stdout", 1795491461_706600178)
    wanted = (
        b'{"log":"' + escaped + b'","stream":"stdout","time":"2026-11-24T03:37:41.706600178Z"}\n'
    )
    assert framed == wanted


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(0, "41Z"), (500_000_000, "41.5Z"), (120, "41.00000012Z"), (1, "41.000000001Z")],
)
def test_times_have_no_trailing_zeros(fraction: int, shown: str) -> None:
    framed = jsonlines.frame(b"x\n", "stdout", 1795491461_000000000 + fraction)
    assert framed.endswith(f':{shown}"}}\n'.encode())


@given(st.binary(min_size=1), st.integers(0, 4_000_000_000_000_000_000))
def test_any_bytes_come_back_as_they_went_in(data: bytes, time_ns: int) -> None:
    lines = jsonlines.frame(data, "stderr", time_ns).splitlines(keepends=True)
    entries = [jsonlines.parse(line) for line in lines]
    assert None not in entries
    assert b"".join(e.data for e in entries if e) == data
    assert {(e.source, e.time_ns) for e in entries if e} == {("stderr", time_ns)}


@given(st.binary(min_size=1))
def test_every_line_is_json_in_which_others_see_text(data: bytes) -> None:
    for line in jsonlines.frame(data, "stdout", 0).splitlines():
        assert set(json.loads(line)) == {"log", "stream", "time"}


def test_attributes_stand_before_the_time() -> None:
    framed = jsonlines.frame(b"x\n", "stdout", 0, jsonlines.encode_attrs({"b": "2", "a": "1"}))
    assert framed == (
        b'{"log":"x\\n","stream":"stdout","attrs":{"a":"1","b":"2"},"time":"1970-01-01T00:00:00Z"}\n'
    )
    entry = jsonlines.parse(framed)
    assert entry is not None
    assert entry.attrs == {"a": "1", "b": "2"}


def context(directory: Path) -> LogContext:
    return LogContext(
        container_id="id",
        container_name="n",
        image_id="",
        image_name="",
        directory=directory,
        labels={"tier": "web", "other": "x"},
        env={"A": "1"},
    )


async def write(driver: JsonFile, *lines: bytes, first: int = 0) -> None:
    for number, line in enumerate(lines, first):
        await driver.log(Batch(data=line, source="stdout", time_ns=number * 1_000_000_000))


async def read(driver: JsonFile, query: ReadQuery) -> list[bytes]:
    found: list[Entry] = []
    async with driver.read(query) as runs:
        async for run in runs:
            found += run
    return [entry.data for entry in found]


SMALL = {"max-size": "1k", "max-file": "3"}


async def test_rotation_keeps_so_many_files_and_compresses_the_old(tmp_path: Path) -> None:
    driver = await open_driver(context(tmp_path), SMALL)
    for number in range(60):
        await write(driver, b"line %04d %s\n" % (number, b"x" * 50), first=number)
    await driver.close()
    names = sorted(os.listdir(tmp_path))
    assert names[0] == "id-json.log"
    assert len(names) == 3
    assert any(name.endswith(".gz") for name in names)
    assert (tmp_path / "id-json.log").stat().st_mode & 0o777 == 0o640
    for name in names:
        data = (tmp_path / name).read_bytes()
        plain = gzip.decompress(data) if name.endswith(".gz") else data
        assert all(jsonlines.parse(line) for line in plain.splitlines())


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=30))
def test_rotation_at_any_size_loses_nothing(tmp_path: Path, sizes: list[int]) -> None:
    directory = tmp_path / str(abs(hash(tuple(sizes))))
    directory.mkdir(exist_ok=True)
    for left in directory.iterdir():
        left.unlink()
    file = RotatingFile(
        str(directory), "log", max_bytes=200, max_files=1000, compress=True, mode=0o640
    )
    written = b""
    for number, size in enumerate(sizes):
        lines = b"".join(b"%d:%d\n" % (number, n) for n in range(size))
        file.append(lines)
        written += lines
    held = file.hold_directory()
    back = b""
    for generation in range(file.oldest_generation(held), file.generation + 1):
        opened = file.open_generation(generation, held)
        assert opened is not None
        with opened:
            back += opened.read()
    os.close(held)
    file.close()
    assert back == written


async def test_tail_since_and_until_cut_across_rotated_files(tmp_path: Path) -> None:
    driver = await open_driver(context(tmp_path), {"max-size": "1k", "max-file": "100"})
    lines = [b"line %04d\n" % number for number in range(100)]
    await write(driver, *lines)
    assert await read(driver, ReadQuery()) == lines
    for tail in (0, 1, 7, 50, 99, 100, 1000):
        assert await read(driver, ReadQuery(tail=tail)) == (lines[-tail:] if tail else [])
    second = 1_000_000_000
    assert await read(driver, ReadQuery(since_ns=90 * second)) == lines[90:]
    assert await read(driver, ReadQuery(until_ns=5 * second)) == lines[:6]
    assert (
        await read(driver, ReadQuery(since_ns=2 * second, until_ns=50 * second, tail=3))
        == lines[48:51]
    )
    assert await read(driver, ReadQuery(sources=frozenset({"stderr"}))) == []
    await driver.close()
    again = await open_driver(context(tmp_path), {"max-size": "1k", "max-file": "100"})
    assert await read(again, ReadQuery(tail=2)) == lines[-2:]
    await again.close()


async def test_following_sees_every_line_once_over_rotations_until_the_end(tmp_path: Path) -> None:
    driver = await open_driver(context(tmp_path), {"max-size": "1k", "max-file": "100"})
    lines = [b"line %04d\n" % number for number in range(300)]
    found: list[bytes] = []

    async def follow() -> None:
        found.extend(await read(driver, ReadQuery(follow=True)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for number, line in enumerate(lines):
            await write(driver, line, first=number)
        await driver.close()
    assert found == lines


async def test_a_damaged_line_is_passed_over(tmp_path: Path) -> None:
    driver = await open_driver(context(tmp_path), {})
    await write(driver, b"one\n")
    with open(tmp_path / "id-json.log", "ab") as file:  # noqa: ASYNC230
        file.write(b'{"log":"half\n')
    await write(driver, b"two\n")
    assert await read(driver, ReadQuery()) == [b"one\n", b"two\n"]
    await driver.close()


async def test_labels_and_variables_go_into_the_lines_that_ask_for_them(tmp_path: Path) -> None:
    driver = await open_driver(context(tmp_path), {"labels": "tier", "env-regex": "^A"})
    await write(driver, b"x\n")
    async with driver.read(ReadQuery()) as runs:
        entries = [entry async for run in runs for entry in run]
    assert entries[0].attrs == {"tier": "web", "A": "1"}
    await driver.close()


@pytest.mark.parametrize(
    "options",
    [
        {"max-size": "big"},
        {"max-file": "0"},
        {"max-file": "x"},
        {"compress": "maybe"},
        {"foo": "1"},
    ],
)
async def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, options: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequest):
        await open_driver(context(tmp_path), options)
    assert os.listdir(tmp_path) == []


async def test_a_full_disk_is_told_and_leaves_no_half_line(tmp_path: Path) -> None:
    """ATTACKS 36: a write that the disk takes half of."""
    driver = await open_driver(context(tmp_path), {"max-size": "-1"})
    await write(driver, b"before\n")
    size = (tmp_path / "id-json.log").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
    try:
        with pytest.raises(DriverError, match="write to json-file log"):
            await write(driver, b"x" * 1000 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert (tmp_path / "id-json.log").stat().st_size == size
    await write(driver, b"after\n")
    assert await read(driver, ReadQuery()) == [b"before\n", b"after\n"]
    await driver.close()


async def test_a_full_file_goes_on_while_there_are_no_descriptors_for_the_next(
    tmp_path: Path,
) -> None:
    """ATTACKS 43: nothing is lost, and it is rotated as soon as there are."""
    file = RotatingFile(str(tmp_path), "log", max_bytes=20, max_files=3, compress=False, mode=0o640)
    file.append(b"this fills a file\n" * 2)
    with without_descriptors():
        for _ in range(3):
            file.append(b"meanwhile\n")
    assert os.listdir(tmp_path) == ["log"]
    file.append(b"again\n")
    file.close()
    assert (tmp_path / "log.1").read_bytes() == b"this fills a file\n" * 2 + b"meanwhile\n" * 3
    assert (tmp_path / "log").read_bytes() == b"again\n"
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1"]


async def test_a_symlink_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    """ATTACKS 36: at opening."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "logs" / "id-json.log").symlink_to(tmp_path / "victim")
    with pytest.raises(DriverError):
        (await open_driver(context(tmp_path / "logs"), {})).open()
    assert (tmp_path / "victim").read_text() == "untouched"
