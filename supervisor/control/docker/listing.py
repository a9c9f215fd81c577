"""GET /containers/json with its filters."""

from __future__ import annotations

import re
from collections.abc import Callable

import trio

from drivers.errors import CrecheError, InvalidRequest, NotFound
from supervisor.container import Container
from supervisor.control.context import Control
from supervisor.control.docker.shapes import listed
from supervisor.control.docker.values import answer, has_labels, parse_filters
from supervisor.control.http import Answer, Request
from supervisor.manager import Manager
from supervisor.spec import Bind, Tmpfs

_FILTERS = frozenset(
    {"id", "name", "label", "status", "ancestor", "exited", "since", "before", "network", "health"}
    | {"volume", "publish", "expose", "is-task"}
)
_STATUSES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
_SHOWN = frozenset({"running", "restarting", "paused"})  # without `all`
_HEALTHS = frozenset({"none", "starting", "healthy", "unhealthy"})
_CODE = re.compile(r"-?[0-9]{1,9}")


async def list_containers(control: Control, request: Request) -> Answer:
    """GET /containers/json"""
    filters = parse_filters(request, _FILTERS)
    _check(filters)
    limit = request.number("limit")
    show_all = request.flag("all") or bool({"status", "exited"} & filters.keys()) or limit
    chosen = [c for c in control.manager.all() if _matches(control.manager, c, filters)]
    if not show_all:
        chosen = [c for c in chosen if c.record.docker_status in _SHOWN]
    if limit is not None and limit > 0:
        chosen = chosen[:limit]
    shown = [listed(container) for container in chosen]
    if request.flag("size"):
        for container, line in zip(chosen, shown, strict=True):
            line["SizeRw"] = await size_of(control.manager, container)
    return answer(shown)


def _check(filters: dict[str, list[str]]) -> None:
    """Raise InvalidRequest for a value that cannot be meant."""
    wrong = [("status", v) for v in filters.get("status", ()) if v not in _STATUSES]
    wrong += [("health", v) for v in filters.get("health", ()) if v not in _HEALTHS]
    wrong += [("exited", v) for v in filters.get("exited", ()) if not _CODE.fullmatch(v)]
    for name, value in wrong:
        raise InvalidRequest(f"invalid filter '{name}={value}'", field="filters")


def _fits(pattern: str, *texts: str) -> bool:
    """Whether a regular expression is found in a text, as dockerd matches names and ids.

    Raises InvalidRequest if it is none.
    """
    try:
        return pattern in texts or any(re.search(pattern, text) for text in texts)
    except re.error as error:
        raise InvalidRequest(f"invalid filter: {pattern!r}: {error}", field="filters") from error


async def size_of(manager: Manager, container: Container) -> int:
    """Bytes that a container has written to its layer."""
    try:
        return await trio.to_thread.run_sync(manager.drivers.storage.diff_size, container.id, None)
    except NotFound:
        return 0  # its root is a directory of the host


def _matches(manager: Manager, container: Container, filters: dict[str, list[str]]) -> bool:
    spec, record = container.spec, container.record
    tests: dict[str, Callable[[str], bool]] = {
        "id": lambda v: _fits(f"^{v}", spec.id),
        "name": lambda v: _fits(v, spec.name, f"/{spec.name}"),
        "status": lambda v: record.docker_status == v,
        "ancestor": lambda v: _is_of_image(manager, container, v),
        "exited": lambda v: record.docker_status == "exited" and record.exit_code == int(v),
        "network": lambda v: spec.network == v,
        "volume": lambda v: any(v in _places(mount) for mount in spec.mounts),
        "publish": lambda v: False,
        "expose": lambda v: False,
        "is-task": lambda v: v in ("0", "false"),
        "health": lambda v: v == "none",
        "since": lambda v: spec.created_ns > manager.find(v).spec.created_ns,
        "before": lambda v: spec.created_ns < manager.find(v).spec.created_ns,
    }
    for name, values in filters.items():
        if name == "label":
            if not has_labels(spec.labels, values):
                return False
        elif not any(tests[name](value) for value in values):
            return False
    return True


def _places(mount: Bind | Tmpfs) -> tuple[str, ...]:
    return (mount.target, mount.source) if isinstance(mount, Bind) else (mount.target,)


def _is_of_image(manager: Manager, container: Container, ref: str) -> bool:
    try:
        return manager.images.find(ref).id == container.spec.image_id
    except CrecheError:
        return False
