"""Times, filters and sizes as the Engine API writes them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import InvalidRequest
from supervisor.control.docker.pruning import may_go
from supervisor.control.docker.values import (
    NEVER,
    ago,
    has_labels,
    parse_filters,
    parse_time,
    parse_until,
    rfc3339,
)
from supervisor.control.http import Peer, Request

SECOND = 1_000_000_000
KNOWN = frozenset({"label", "name"})


def asking(**query: str) -> Request:
    """A request with these parameters."""

    async def body() -> AsyncIterator[bytes]:
        yield b""

    return Request(
        method="GET",
        path="/",
        query={name: [value] for name, value in query.items()},
        headers={},
        peer=Peer(1, 0, 0),
        body=body(),
    )


@given(st.integers(min_value=1, max_value=4 * 10**18))
def test_a_time_is_shown_with_all_its_nanoseconds(time_ns: int) -> None:
    seconds, fraction = divmod(time_ns, SECOND)
    assert parse_time(f"{seconds}.{fraction:09d}", field="since") == time_ns
    shown = rfc3339(time_ns)
    assert shown.endswith("Z")
    assert int((shown.rstrip("Z").partition(".")[2] or "0").ljust(9, "0")) == fraction


def test_no_time_is_gos_zero_time() -> None:
    assert rfc3339(0) == NEVER
    assert parse_time("", field="since") is None


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("0", 0),
        ("12", 12 * SECOND),
        ("12.5", 12 * SECOND + SECOND // 2),
        ("1970-01-01T00:00:12Z", 12 * SECOND),
        ("1970-01-01T01:00:12+01:00", 12 * SECOND),
        ("1970-01-01T00:00:12", 12 * SECOND),
        ("1970-01-02", 86400 * SECOND),
    ],
)
def test_times_are_read_in_every_form(text: str, time_ns: int) -> None:
    assert parse_time(text, field="since") == time_ns


@pytest.mark.parametrize("text", ["x", "1.x", "9" * 5000, "1e9", "-", "2026-13-01", "١٢"])
def test_what_is_no_time_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest, match="until: "):
        parse_time(text, field="until")


@pytest.mark.parametrize(
    ("text", "ago_ns"), [("90s", 90), ("1h30m", 5400), ("0.5m", 30), ("24h", 86400)]
)
def test_until_may_be_how_long_ago(text: str, ago_ns: int) -> None:
    before = time.time_ns()
    moment = parse_until(text)
    assert before <= moment + ago_ns * SECOND <= time.time_ns()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (125, "2 minutes"),
        (3600, "About an hour"),
        (5 * 3600, "5 hours"),
        (3 * 86400, "3 days"),
        (21 * 86400, "3 weeks"),
        (100 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_lengths_of_time_are_dockers_words(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_filters_of_old_and_new_clients_mean_the_same() -> None:
    new = asking(filters=json.dumps({"label": ["a", "b=1"]}))
    old = asking(filters=json.dumps({"label": {"a": True, "b=1": True, "c": False}}))
    assert parse_filters(new, KNOWN) == parse_filters(old, KNOWN) == {"label": ["a", "b=1"]}
    assert parse_filters(asking(), KNOWN) == {}


@pytest.mark.parametrize(
    "text", ["x", "[]", "3", '{"foo": ["1"]}', '{"label": 3}', '{"label": [3]}', "[" * 20_000]
)
def test_filters_that_are_wrong_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid filter"):
        parse_filters(asking(filters=text), KNOWN)


def test_labels_are_asked_for_by_name_or_value() -> None:
    labels = {"a": "1", "b": ""}
    assert has_labels(labels, ["a", "b"])
    assert has_labels(labels, ["a=1", "b="])
    assert not has_labels(labels, ["a=2"])
    assert not has_labels(labels, ["c"])


def test_a_prune_spares_what_its_filters_do_not_name() -> None:
    assert may_go({}, 5, {})
    assert not may_go({}, time.time_ns(), {"until": ["1h"]})
    assert may_go({}, time.time_ns() - 7200 * SECOND, {"until": ["1h"]})
    assert not may_go({"keep": ""}, 5, {"label!": ["keep"]})
    assert not may_go({}, 5, {"label": ["old"]})
    with pytest.raises(InvalidRequest, match="until: "):
        may_go({}, 5, {"until": ["yesterday"]})


@pytest.mark.parametrize(
    ("text", "value"), [("", False), ("0", False), ("False", False), ("1", True)]
)
def test_flags_are_read_as_docker_reads_them(text: str, value: bool) -> None:
    assert asking(all=text).flag("all") is value


def test_a_number_that_is_none_is_refused_by_its_name() -> None:
    assert asking(limit="12").number("limit") == 12
    assert asking().number("limit") is None
    for text in ("x", "1.5", "9" * 5000):
        with pytest.raises(InvalidRequest, match="limit: "):
            asking(limit=text).number("limit")
