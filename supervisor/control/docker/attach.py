"""POST /containers/{id}/attach: the connection becomes the container's streams."""

from __future__ import annotations

import trio

from drivers.errors import NotRunning
from drivers.log.base import Source
from supervisor.attach import Attachment
from supervisor.container import Container
from supervisor.control.context import Control
from supervisor.control.docker.frames import content_type, frame
from supervisor.control.docker.logs import framed, query_of
from supervisor.control.http import Answer, Hijack, Request

_READ_BYTES = 64 * 1024


async def attach(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/attach"""
    container = control.manager.find(request.parameters["id"])
    # from here on, not from when the head has been sent: the client starts the container then
    held = control.manager.attach(container.id)
    attachment = held.__enter__()

    async def run(stream: trio.abc.Stream, first: bytes) -> None:
        try:
            await _converse(control, container, request, attachment, stream, first)
        finally:
            held.__exit__(None, None, None)

    return Hijack(run=run, content_type=content_type(request.api_version))


async def _converse(
    control: Control,
    container: Container,
    request: Request,
    attachment: Attachment,
    stream: trio.abc.Stream,
    first: bytes,
) -> None:
    wanted: set[Source] = set()
    for source in ("stdout", "stderr"):
        if request.flag(source):
            wanted.add(source)
    try:
        if request.flag("logs") and wanted:
            query = query_of(request, follow=False)
            async with control.manager.read_logs(container.id, query) as runs:
                async for entries in runs:
                    await stream.send_all(framed(entries, times=False, details=False))
        if not request.flag("stream"):
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, attachment, stream, first, request.flag("stdin"), nursery)
            async for source, data in attachment.output:
                if source in wanted:
                    await stream.send_all(frame(source, data))
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client is gone; the container goes on


async def _feed(
    attachment: Attachment,
    stream: trio.abc.Stream,
    first: bytes,
    has_stdin: bool,
    nursery: trio.Nursery,
) -> None:
    """Pass what the client sends to the container; a client that closes wholly ends the whole."""
    data: bytes | bytearray = first
    try:
        while True:
            if data and has_stdin:
                await attachment.send_stdin(bytes(data))
            data = await stream.receive_some(_READ_BYTES)
            if not data:
                break
    except NotRunning:
        return  # the container takes no more; its output may go on
    except trio.BrokenResourceError:
        nursery.cancel_scope.cancel()
    if has_stdin:
        attachment.close_stdin()
