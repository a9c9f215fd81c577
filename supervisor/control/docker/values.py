"""Small values as the Engine API writes them: times, JSON answers, filters, quoted commands."""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from drivers.errors import InvalidRequest
from drivers.execution.base import WindowSize
from supervisor.control.http import Request, Response
from supervisor.detach import parse_keys
from supervisor.terminal import check_size

NEVER = "0001-01-01T00:00:00Z"


def answer(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(status=status, body=msgspec.json.encode(value) + b"\n")


def rfc3339(time_ns: int) -> str:
    """A time with its nanoseconds; Go's zero time for 0."""
    if not time_ns:
        return NEVER
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


_UNIX_TIME = re.compile(r"(-?[0-9]{1,11})(?:\.([0-9]*))?")
_GO_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|m|s|ms|us|µs|ns))+")
_GO_PART = re.compile(r"([0-9.]+)([a-zµ]+)")
_NS = 1_000_000_000
_UNIT_NS = {"h": 3600 * _NS, "m": 60 * _NS, "s": _NS, "ms": 10**6, "us": 1000, "µs": 1000, "ns": 1}


def parse_time(text: str, *, field: str) -> int | None:
    """Nanoseconds of a Unix time with a fraction, or an RFC 3339 time; None for none.

    Raises InvalidRequest naming the field.
    """
    if not text:
        return None
    found = _UNIX_TIME.fullmatch(text)
    if found:
        return int(found[1]) * _NS + int((found[2] or "0")[:9].ljust(9, "0"))
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp()) * _NS + moment.microsecond * 1000
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{field}: {text!r} is not a time", field=field) from error


def parse_until(text: str) -> int:
    """Nanoseconds of the filter `until`: a time, or as Go writes it how long ago ("1h30m")."""
    if _GO_DURATION.fullmatch(text):
        parts = _GO_PART.findall(text)
        return time.time_ns() - int(sum(float(size) * _UNIT_NS[unit] for size, unit in parts))
    return parse_time(text, field="until") or 0


def ago(seconds: float) -> str:
    """A length of time in the words of `docker ps`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = round(whole / 3600)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = whole // 86400
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    if days < 730:
        return f"{days // 30} months"
    return f"{days // 365} years"


def asked_size(request: Request) -> WindowSize:
    """The window size of the parameters `h` and `w`. Raises InvalidRequest."""
    rows, columns = request.number("h"), request.number("w")
    if rows is None or columns is None:
        raise InvalidRequest("a size needs both h and w", field="h" if rows is None else "w")
    return check_size(rows, columns)


def absolute_workdir(path: str) -> str:
    """A working directory without `.` and `..`, if one is given. Raises InvalidRequest."""
    if path and not path.startswith("/"):
        raise InvalidRequest(
            f"the working directory '{path}' is invalid, it needs to be an absolute path",
            field="WorkingDir",
        )
    return posixpath.normpath(path) if path else ""


def asked_keys(text: str, *, kind: str) -> bytes:
    """The detach keys that `text` names. Raises InvalidRequest: a `kind` of keys, says dockerd."""
    try:
        return parse_keys(text)
    except ValueError as error:
        message = f"Invalid {kind} keys ({text}) provided"
        raise InvalidRequest(message, field="detachKeys") from error


def parse_filters(request: Request, known: frozenset[str]) -> dict[str, list[str]]:
    """The `filters` parameter: {"label": ["a"]}, or of old clients {"label": {"a": true}}.

    Raises InvalidRequest in Docker's words for a filter that is not known.
    """
    text = request.get("filters")
    if not text:
        return {}
    try:
        parsed: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"invalid filter: {error}", field="filters") from error
    if not isinstance(parsed, dict):
        raise InvalidRequest("invalid filter: not an object", field="filters")
    found: dict[str, list[str]] = {}
    for name, values in parsed.items():
        if name not in known:
            raise InvalidRequest(f"invalid filter '{name}'", field="filters")
        if isinstance(values, dict):
            values = [value for value, wanted in values.items() if wanted]
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise InvalidRequest(f"invalid filter '{name}': not a list of strings", field="filters")
        found[name] = values
    return found


def has_labels(labels: Mapping[str, str], wanted: list[str]) -> bool:
    """Whether all of `name` and `name=value` are there."""
    for item in wanted:
        name, equals, value = item.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True
