"""Creche's own paths below /creche/."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from supervisor.control.context import Control
from supervisor.control.docker.values import answer
from supervisor.control.http import Answer, Request
from supervisor.control.router import Route, route
from supervisor.doctor import examine


def routes(control: Control) -> list[Route]:
    """Every route of this interface."""
    return [
        route("GET", "/creche/doctor", partial(doctor, control)),
        route("GET", "/creche/logs/{id}/stats", partial(log_stats, control)),
    ]


async def doctor(control: Control, request: Request) -> Answer:
    """GET /creche/doctor: what works on this host."""
    return answer(await examine(Path(control.config.root) / "tmp"))


async def log_stats(control: Control, request: Request) -> Answer:
    """GET /creche/logs/{id}/stats: the counters of a container's sinks, while it runs."""
    container = control.manager.find(request.parameters["id"])
    return answer(container.logs.stats() if container.logs else [])
