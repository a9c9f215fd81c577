"""Containers, but for their creation, listing, logs and streams."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial

import msgspec
import psutil

from drivers.errors import InvalidRequest, NotFound
from supervisor.control.context import Control
from supervisor.control.docker.attach import attach
from supervisor.control.docker.create import create
from supervisor.control.docker.listing import list_containers
from supervisor.control.docker.logs import logs
from supervisor.control.docker.shapes import inspected
from supervisor.control.docker.values import answer, has_labels, parse_filters
from supervisor.control.http import Answer, Request, Response, Stream
from supervisor.control.router import Route, route
from supervisor.lifecycle import parse_signal
from supervisor.states import DOWN
from supervisor.waiting import Condition

_CONDITIONS: tuple[Condition, ...] = ("not-running", "next-exit", "removed")


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
        ("POST", f"{one}/wait", wait),
        ("POST", f"{one}/rename", rename),
        ("POST", f"{one}/attach", attach),
        ("GET", f"{one}/logs", logs),
        ("GET", f"{one}/top", top),
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
        graph = await storage.metadata(container.id)
    except NotFound:
        graph = {}  # its root is a directory of the host
    shown = inspected(
        container,
        storage=storage.name,
        graph=graph,
        default_runtime=next(iter(manager.drivers.execution)),
    )
    if request.flag("size"):
        shown["SizeRw"] = await storage.diff_size(container.id, None)
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
    await control.manager.kill(_ref(request), parse_signal(request.get("signal") or "KILL"))
    return Response(status=204)


async def wait(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/wait: the head is sent at once, for clients start only then."""
    condition = next((c for c in _CONDITIONS if c == request.get("condition", c)), None)
    if condition is None:
        raise InvalidRequest(f"invalid condition: {request.get('condition')!r}", field="condition")
    waiting = control.manager.waiting(_ref(request), condition)

    async def body() -> AsyncIterator[bytes]:
        with waiting as ended:
            code = await ended()
        yield msgspec.json.encode({"StatusCode": code}) + b"\n"

    return Stream(body=body())


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
    """POST /containers/prune"""
    filters = parse_filters(request, frozenset({"label", "until"}))
    removed: list[str] = []
    reclaimed = 0
    for container in control.manager.all():
        wanted = has_labels(container.spec.labels, filters.get("label", []))
        if container.record.state in DOWN and wanted and container.spec.unit is None:
            if not container.spec.rootfs:
                reclaimed += await control.manager.drivers.storage.diff_size(container.id, None)
            await control.manager.remove(container.id)
            removed.append(container.id)
    return answer({"ContainersDeleted": removed or None, "SpaceReclaimed": reclaimed})


async def top(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/top: the columns of `ps -ef`, without running ps."""
    rows = []
    for pid in await control.manager.pids(_ref(request)):
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                cpu = int(sum(process.cpu_times()[:2]))
                started = datetime.fromtimestamp(process.create_time())
                rows.append(
                    [
                        process.username(),
                        str(pid),
                        str(process.ppid()),
                        "0",
                        started.strftime("%H:%M"),
                        process.terminal() or "?",
                        f"{cpu // 3600:02}:{cpu // 60 % 60:02}:{cpu % 60:02}",
                        shlex.join(process.cmdline()) or f"[{process.name()}]",
                    ]
                )
        except psutil.NoSuchProcess:
            continue
    titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    return answer({"Titles": titles, "Processes": rows})


async def changes(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/changes"""
    container = control.manager.find(_ref(request))
    image = control.manager.images.find(container.spec.image_id)
    found = await control.manager.drivers.storage.changes(container.id, image.top_layer)
    return answer([{"Path": change.path, "Kind": int(change.kind)} for change in found])
