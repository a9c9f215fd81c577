"""Containers, but for their creation, listing, logs and streams."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import msgspec
import trio

from drivers.errors import Conflict, CrecheError, InvalidRequest, NotFound
from supervisor.changes import shown_changes
from supervisor.container import Container
from supervisor.control.context import Control
from supervisor.control.docker.attach import attach, resize
from supervisor.control.docker.create import create
from supervisor.control.docker.limits import update
from supervisor.control.docker.listing import list_containers, size_of
from supervisor.control.docker.logs import logs
from supervisor.control.docker.pruning import PRUNE_FILTERS, may_go
from supervisor.control.docker.shapes import inspected
from supervisor.control.docker.stats import stats
from supervisor.control.docker.top import top
from supervisor.control.docker.values import answer, parse_filters
from supervisor.control.http import Answer, Request, Response, Stream
from supervisor.control.router import Route, route
from supervisor.lifecycle import parse_signal
from supervisor.states import DOWN
from supervisor.waiting import Condition

_CONDITIONS: tuple[Condition, ...] = ("not-running", "next-exit", "removed")
_LONGEST_SIGNAL = 20


def routes(control: Control) -> list[Route]:
    """Every route of this resource."""
    one = "/containers/{id}"
    table = [
        ("GET", "/containers/json", list_containers),
        ("POST", "/containers/create", create),
        ("POST", "/containers/prune", prune),
        ("GET", f"{one}/json", inspect),
        ("POST", f"{one}/start", start),
        ("POST", f"{one}/stop", stop),
        ("POST", f"{one}/restart", restart),
        ("POST", f"{one}/kill", kill),
        ("POST", f"{one}/pause", pause),
        ("POST", f"{one}/unpause", unpause),
        ("POST", f"{one}/update", update),
        ("POST", f"{one}/wait", wait),
        ("POST", f"{one}/rename", rename),
        ("POST", f"{one}/attach", attach),
        ("POST", f"{one}/resize", resize),
        ("GET", f"{one}/logs", logs),
        ("GET", f"{one}/top", top),
        ("GET", f"{one}/stats", stats),
        ("GET", f"{one}/changes", changes),
        ("DELETE", one, remove),
    ]
    return [route(method, path, partial(handler, control)) for method, path, handler in table]


def _ref(request: Request) -> str:
    return request.parameters["id"]


async def inspect(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/json"""
    manager = control.manager
    container = manager.find(_ref(request))
    storage = manager.drivers.storage
    try:
        graph = await trio.to_thread.run_sync(storage.metadata, container.id)
    except NotFound:
        graph = {}  # its root is a directory of the host
    shown = inspected(
        container,
        storage=storage.name,
        graph=graph,
        default_runtime=next(iter(manager.drivers.execution)),
        exec_ids=manager.execs.ids_of(container),
    )
    if request.flag("size"):
        shown["SizeRw"] = await size_of(manager, container)
    return answer(shown)


async def start(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/start"""
    await control.manager.start(_ref(request))
    return Response(status=204)


def _grace_s(request: Request) -> float | None:
    seconds = request.number("t")
    return None if seconds is None else float(seconds)


def _signal(request: Request) -> int | None:
    text = request.get("signal")
    if len(text) > _LONGEST_SIGNAL:
        raise InvalidRequest(f"Invalid signal: {text[:_LONGEST_SIGNAL]}...", field="signal")
    return parse_signal(text) if text else None


async def stop(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/stop"""
    await control.manager.stop(_ref(request), grace_s=_grace_s(request), signum=_signal(request))
    return Response(status=204)


async def restart(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/restart"""
    await control.manager.restart(_ref(request), grace_s=_grace_s(request), signum=_signal(request))
    return Response(status=204)


async def kill(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/kill"""
    await control.manager.kill(_ref(request), _signal(request) or signal.SIGKILL)
    return Response(status=204)


async def pause(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/pause"""
    await control.manager.pause(_ref(request))
    return Response(status=204)


async def unpause(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/unpause"""
    await control.manager.unpause(_ref(request))
    return Response(status=204)


async def wait(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/wait: the head is sent at once, for clients start only then."""
    asked = request.get("condition") or _CONDITIONS[0]  # old clients send an empty one
    condition = next((c for c in _CONDITIONS if c == asked), None)
    if condition is None:
        raise InvalidRequest(f"invalid condition: {asked!r}", field="condition")
    held = AsyncExitStack()
    ended = held.enter_context(control.manager.waiting(_ref(request), condition))

    async def body() -> AsyncIterator[bytes]:
        yield msgspec.json.encode({"StatusCode": await ended()}) + b"\n"

    return Stream(body=body(), held=held, is_one_piece=True)


async def rename(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/rename"""
    name = request.get("name")
    if not name:
        raise InvalidRequest("Neither old nor new names may be empty", field="name")
    await control.manager.rename(_ref(request), name)
    return Response(status=204)


async def remove(control: Control, request: Request) -> Answer:
    """DELETE /containers/{id}"""
    await control.manager.remove(_ref(request), force=request.flag("force"))
    return Response(status=204)


async def prune(control: Control, request: Request) -> Answer:
    """POST /containers/prune: everything that is down, but for what belongs to a unit."""
    filters = parse_filters(request, PRUNE_FILTERS)
    removed: list[str] = []
    reclaimed = 0
    for container in control.manager.all():
        spec = container.spec
        if spec.unit is not None or not may_go(spec.labels, spec.created_ns, filters):
            continue
        if container.record.state in DOWN:
            size = await size_of(control.manager, container)
            if await _is_removed(control, container):
                removed.append(container.id)
                reclaimed += size
    return answer({"ContainersDeleted": removed or None, "SpaceReclaimed": reclaimed})


async def _is_removed(control: Control, container: Container) -> bool:
    try:
        await control.manager.remove(container.id)
    except CrecheError:
        return False  # started or removed meanwhile
    return True


async def changes(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/changes"""
    container = control.manager.find(_ref(request))
    if container.spec.rootfs:
        raise Conflict(
            f"container {container.name} runs on a directory: it has no layer of its own"
        )
    image = control.manager.images.find(container.spec.image_id)
    storage = control.manager.drivers.storage
    found = await trio.to_thread.run_sync(storage.changes, container.id, image.top_layer)
    return answer(
        [{"Path": change.path, "Kind": int(change.kind)} for change in shown_changes(found)]
    )
