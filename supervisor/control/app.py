"""All routes of the control socket, in the order in which they are tried."""

from __future__ import annotations

from supervisor.control import creche
from supervisor.control.context import VERSION, Control
from supervisor.control.docker import containers, events, exec, images, system
from supervisor.control.router import Router
from supervisor.control.xmlrpc import logtail, rpc

SERVER_NAME = f"Creche/{VERSION} (linux)"


def router(control: Control) -> Router:
    """The router over every resource."""
    return Router(
        [
            *containers.routes(control),
            *exec.routes(control),
            *images.routes(control),
            *events.routes(control),
            *system.routes(control),
            *rpc.routes(control),
            *logtail.routes(control),
            *creche.routes(control),
            *system.missing_routes(),
        ]
    )
