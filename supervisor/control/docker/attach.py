"""POST /containers/{id}/attach and /resize: the connection becomes the container's streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial

import trio

from drivers.log.base import Entry
from supervisor.attach import Attachment
from supervisor.container import Container
from supervisor.control.context import Control
from supervisor.control.docker.frames import content_type, frame, raw
from supervisor.control.docker.logs import framed, query_of, wanted_sources
from supervisor.control.docker.streaming import Manner, converse
from supervisor.control.docker.values import asked_keys, asked_size
from supervisor.control.http import Answer, Hijack, Request, Response

Runs = AsyncIterator[Sequence[Entry]]


async def attach(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/attach"""
    container = control.manager.find(request.parameters["id"])
    manner = _manner(container, request)
    async with AsyncExitStack() as held:
        runs: Runs | None = None
        if request.flag("logs") and manner.sources:
            query = query_of(request, follow=False)
            runs = await held.enter_async_context(control.manager.read_logs(container.id, query))
        # from here on, not from when the head has been sent: the client starts the container then
        attachment = held.enter_context(control.manager.attach(container.id))
        stays = request.flag("stream")
        run = partial(_converse, container, attachment, manner, runs, stays)
        kind = content_type(request.api_version, tty=container.spec.tty)
        return Hijack(run=run, content_type=kind, held=held.pop_all())


def _manner(container: Container, request: Request) -> Manner:
    tty = container.spec.tty
    keys = asked_keys(request.get("detachKeys"), kind="detach")  # wrong ones are told in any case
    return Manner(
        encode=raw if tty else frame,
        sources=wanted_sources(request),
        stdin=request.flag("stdin") and container.spec.open_stdin,
        keys=keys if tty else None,
    )


async def _converse(
    container: Container,
    attachment: Attachment,
    manner: Manner,
    runs: Runs | None,
    stays: bool,
    stream: trio.SocketStream,
    first: bytes,
) -> None:
    try:
        if runs is not None:
            tty = container.spec.tty
            async for entries in runs:
                await stream.send_all(framed(entries, times=False, details=False, tty=tty))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the client is gone; the container goes on
    if stays and await converse(attachment, manner, stream, first):
        container.announce("detach")


async def resize(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/resize"""
    control.manager.resize(request.parameters["id"], asked_size(request))
    return Response(status=200)
