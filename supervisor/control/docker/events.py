"""GET /events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import msgspec
import trio

from supervisor.control.context import Control
from supervisor.control.docker.values import has_labels, parse_filters, parse_time
from supervisor.control.http import Answer, Request, Stream
from supervisor.control.router import Route, route
from supervisor.events import Event

_FILTERS = frozenset(
    {"container", "event", "image", "label", "type", "volume", "network", "daemon", "scope"}
)
_NS = 1_000_000_000


def routes(control: Control) -> list[Route]:
    """Every route of this resource."""
    return [route("GET", "/events", partial(events, control))]


async def events(control: Control, request: Request) -> Answer:
    """GET /events"""
    filters = parse_filters(request, _FILTERS)
    since_ns = parse_time(request.get("since"), field="since")
    until_ns = parse_time(request.get("until"), field="until")
    hub, held = control.manager.events, AsyncExitStack()
    listener = held.enter_context(hub.listen())
    asks_for_past = (since_ns, until_ns) != (None, None)
    past = hub.history(since_ns=since_ns or 0) if asks_for_past else []

    async def body() -> AsyncIterator[bytes]:
        for event in past:
            if _matches(event, filters) and (until_ns is None or event.time_ns <= until_ns):
                yield _line(event)
        left_s = float("inf") if until_ns is None else (until_ns - time.time_ns()) / _NS
        end = trio.current_time() + max(left_s, 0)
        while True:
            try:
                with trio.fail_at(end):  # not around a yield
                    event = await listener.receive()
            except (trio.EndOfChannel, trio.TooSlowError):
                return
            if _matches(event, filters):
                yield _line(event)

    return Stream(body=body(), held=held)


def _matches(event: Event, filters: dict[str, list[str]]) -> bool:
    attributes = event.attributes
    values: dict[str, set[str]] = {
        "type": {event.type},
        "event": {event.action, event.action.partition(": ")[0]},  # "exec_start: sh -c true"
        "scope": {"local"},
        "image": {event.id, attributes.get("name", ""), attributes.get("image", "")}
        if event.type == "image"
        else {attributes.get("image", "")},
        "container": {event.id, attributes.get("name", "")} if event.type == "container" else set(),
    }
    for name, wanted in filters.items():
        if name == "label":
            if not has_labels(attributes, wanted):
                return False
            continue
        found = values.get(name, set())
        short = name == "container" and any(event.id.startswith(w) for w in wanted)
        if not short and not found & set(wanted):
            return False
    return True


def _line(event: Event) -> bytes:
    shown = {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time_ns // _NS,
        "timeNano": event.time_ns,
    }
    if event.type in ("container", "image"):  # as clients before 1.22 read them
        old = {"status": event.action, "id": event.id, "from": event.attributes.get("image", "")}
        shown = {**old, **shown}
    return msgspec.json.encode(shown) + b"\n"
