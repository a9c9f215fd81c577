"""GET /containers/{id}/logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote

from drivers.errors import InvalidRequest
from drivers.log.base import Entry, ReadQuery, Source
from supervisor.control.context import Control
from supervisor.control.docker.frames import content_type, frame
from supervisor.control.docker.values import parse_time, rfc3339
from supervisor.control.http import Answer, Request, Stream


def query_of(request: Request, *, follow: bool) -> ReadQuery:
    """What a request asks for. Raises InvalidRequest."""
    sources: set[Source] = set()
    if request.flag("stdout"):
        sources.add("stdout")
    if request.flag("stderr"):
        sources.add("stderr")
    if not sources:
        raise InvalidRequest("Bad parameters: you must choose at least one stream")
    tail = request.get("tail", "all")
    return ReadQuery(
        since_ns=parse_time(request.get("since"), field="since"),
        until_ns=parse_time(request.get("until"), field="until"),
        tail=int(tail) if tail.isdecimal() else None,
        follow=follow,
        sources=frozenset(sources),
    )


async def logs(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/logs"""
    container = control.manager.find(request.parameters["id"])
    query = query_of(request, follow=request.flag("follow"))
    times, details = request.flag("timestamps"), request.flag("details")

    async def body() -> AsyncIterator[bytes]:
        async with control.manager.read_logs(container.id, query) as runs:
            async for entries in runs:
                yield framed(entries, times=times, details=details)

    return Stream(body=body(), content_type=content_type(request.api_version))


def framed(entries: Sequence[Entry], *, times: bool, details: bool) -> bytes:
    """Entries as one write: a frame for each."""
    if not times and not details:
        return b"".join([frame(entry.source, entry.data) for entry in entries])
    return b"".join(
        [frame(entry.source, _prefix(entry, times, details) + entry.data) for entry in entries]
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
