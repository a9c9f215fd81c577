"""POST /containers/{id}/attach: the connection becomes the container's streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial

import trio

from drivers.errors import NotRunning
from drivers.log.base import Entry
from supervisor.attach import Attachment
from supervisor.control.context import Control
from supervisor.control.docker.frames import content_type, frame
from supervisor.control.docker.logs import framed, query_of, wanted_sources
from supervisor.control.hangup import hung_up
from supervisor.control.http import Answer, Hijack, Request

_READ_BYTES = 64 * 1024

Runs = AsyncIterator[Sequence[Entry]]


async def attach(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/attach"""
    container = control.manager.find(request.parameters["id"])
    async with AsyncExitStack() as held:
        runs: Runs | None = None
        if request.flag("logs") and wanted_sources(request):
            query = query_of(request, follow=False)
            runs = await held.enter_async_context(control.manager.read_logs(container.id, query))
        # from here on, not from when the head has been sent: the client starts the container then
        attachment = held.enter_context(control.manager.attach(container.id))
        run = partial(_converse, request, attachment, runs)
        return Hijack(run=run, content_type=content_type(request.api_version), held=held.pop_all())


async def _converse(
    request: Request,
    attachment: Attachment,
    runs: Runs | None,
    stream: trio.SocketStream,
    first: bytes,
) -> None:
    wanted = wanted_sources(request)
    try:
        if runs is not None:
            async for entries in runs:
                await stream.send_all(framed(entries, times=False, details=False))
        if not request.flag("stream"):
            return
        async with trio.open_nursery() as nursery:
            stdin = attachment if request.flag("stdin") else None
            nursery.start_soon(_listen, stdin, stream, first, nursery.cancel_scope)
            async for source, data in attachment.output:
                if source in wanted:
                    await stream.send_all(frame(source, data))
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client is gone; the container goes on


async def _listen(
    stdin: Attachment | None, stream: trio.SocketStream, first: bytes, scope: trio.CancelScope
) -> None:
    """Pass on what the client sends; once it has hung up, nobody reads the output any more."""
    try:
        await _feed(stdin, stream, first)
    except NotRunning:
        pass  # the container takes no more; its output may go on
    except trio.BrokenResourceError:
        scope.cancel()  # reset: closed with output unread
    if stdin is not None:
        stdin.close_stdin()
    await hung_up(stream)
    scope.cancel()


async def _feed(stdin: Attachment | None, stream: trio.SocketStream, first: bytes) -> None:
    """Pass on what the client sends, to where it writes no more."""
    data: bytes | bytearray = first
    while True:
        if data and stdin is not None:
            await stdin.send_stdin(bytes(data))
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            return
