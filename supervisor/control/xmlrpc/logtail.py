"""GET /logtail/NAME/stdout|stderr and /mainlogtail: what `supervisorctl tail -f` follows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from drivers.errors import NotFound
from drivers.log.base import Source
from supervisor.control.context import Control
from supervisor.control.http import Answer, Request, Stream
from supervisor.control.router import Route, route
from supervisor.control.xmlrpc.faulted import Faulted
from supervisor.control.xmlrpc.logs import last_bytes
from supervisor.control.xmlrpc.names import find_one

FIRST_BYTES = 1024


def routes(control: Control) -> list[Route]:
    """Every route of this interface."""
    table = [
        route("GET", f"/logtail/{{name}}/{source}", partial(logtail, control, source))
        for source in ("stdout", "stderr")
    ]
    return [*table, route("GET", "/mainlogtail", mainlogtail)]


async def logtail(control: Control, source: Source, request: Request) -> Answer:
    """The last bytes of the log, then what comes, over restarts, until the client goes."""
    try:
        container = find_one(control.manager, request.parameters["name"])
        first = await last_bytes(control, container.name, source, FIRST_BYTES)
    except Faulted as faulted:
        raise NotFound(faulted.text) from faulted

    async def body() -> AsyncIterator[bytes]:
        yield first
        while not container.removed:
            with container.output.listen() as chunks:
                async for of, data in chunks:
                    if of == source:
                        yield data

    return Stream(body=body(), content_type="text/plain;charset=utf-8", close=True)


async def mainlogtail(request: Request) -> Answer:
    """The daemon's own log goes to standard error: there is no file."""
    raise NotFound("creched logs to its standard error")
