"""GET /containers/{id}/logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from urllib.parse import quote

from drivers.errors import InvalidRequest
from drivers.log.base import Entry, ReadQuery, Source
from supervisor.control.context import Control
from supervisor.control.docker.frames import content_type, frame, raw
from supervisor.control.docker.values import parse_time, rfc3339
from supervisor.control.http import Answer, Request, Stream

_LONGEST_NUMBER = 18  # digits


def wanted_sources(request: Request) -> frozenset[Source]:
    """The streams that a request names."""
    both: tuple[Source, ...] = ("stdout", "stderr")
    return frozenset(source for source in both if request.flag(source))


def query_of(request: Request, *, follow: bool) -> ReadQuery:
    """What a request asks for. Raises InvalidRequest."""
    sources = wanted_sources(request)
    if not sources:
        raise InvalidRequest("Bad parameters: you must choose at least one stream")
    tail = request.get("tail", "all")
    has_number = (
        tail.isdecimal() and len(tail) <= _LONGEST_NUMBER
    )  # all of it otherwise, as dockerd
    return ReadQuery(
        since_ns=parse_time(request.get("since"), field="since"),
        until_ns=parse_time(request.get("until"), field="until") or None,
        tail=int(tail) if has_number else None,
        follow=follow,
        sources=sources,
    )


async def logs(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/logs"""
    container = control.manager.find(request.parameters["id"])
    query = query_of(request, follow=request.flag("follow"))
    times, details = request.flag("timestamps"), request.flag("details")
    tty = container.spec.tty
    held = AsyncExitStack()
    runs = await held.enter_async_context(control.manager.read_logs(container.id, query))

    async def body() -> AsyncIterator[bytes]:
        async for entries in runs:
            yield framed(entries, times=times, details=details, tty=tty)

    return Stream(body=body(), content_type=content_type(request.api_version, tty=tty), held=held)


def framed(entries: Sequence[Entry], *, times: bool, details: bool, tty: bool) -> bytes:
    """Entries as one write: a frame for each, or one after the other as a terminal showed them."""
    encode = raw if tty else frame
    if not times and not details:
        return b"".join([encode(entry.source, entry.data) for entry in entries])
    return b"".join(
        [encode(entry.source, _prefix(entry, times, details) + entry.data) for entry in entries]
    )


def _prefix(entry: Entry, times: bool, details: bool) -> bytes:
    parts = []
    if times:
        # as dockerd: nine digits always, so that the lines stay aligned
        whole, _, fraction = rfc3339(entry.time_ns).rstrip("Z").partition(".")
        parts.append(f"{whole}.{fraction.ljust(9, '0')}Z")
    if details:
        parts.append(_attributes(entry.attrs))
    return (" ".join(parts) + " ").encode()


def _attributes(attrs: Mapping[str, str]) -> str:
    return ",".join(f"{quote(k)}={quote(v)}" for k, v in sorted(attrs.items()))
