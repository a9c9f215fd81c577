"""Changing the limits and the restart policy of a container that is there, running or not."""

from __future__ import annotations

import msgspec
import trio

from drivers.errors import Conflict
from supervisor.container import Container
from supervisor.limits import check_on_host, host_processors, to_driver, updated
from supervisor.run import Drivers
from supervisor.spec import ResourceLimits, RestartPolicy
from supervisor.states import State

_GOING = frozenset({State.REMOVING, State.DEAD})


async def update(
    container: Container,
    drivers: Drivers,
    changes: dict[str, object],
    restart: RestartPolicy | None,
) -> None:
    """Replace limits, by the names of ResourceLimits, and the restart policy unless it is None.

    What runs is held to them at once. Raises Conflict, InvalidRequest, LimitUnavailable; then
    nothing has changed.
    """
    async with container.updating:
        if container.record.state in _GOING:
            raise Conflict(
                f"Cannot update container {container.id}: Container is marked for removal and "
                'cannot be "update".'
            )
        if restart is not None and restart.name != "no" and container.spec.auto_remove:
            raise Conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        limits = updated(container.spec.limits, changes)
        if limits != container.spec.limits:
            await _hold_to(container, drivers, limits)
        restart = container.spec.restart if restart is None else restart
        container.spec = msgspec.structs.replace(container.spec, limits=limits, restart=restart)
        container.touch()
        container.announce("update")


async def _hold_to(container: Container, drivers: Drivers, limits: ResourceLimits) -> None:
    await trio.to_thread.run_sync(check_on_host, limits, host_processors())
    if container.record.pid:
        await drivers.execution_of(container.spec).update(container.id, to_driver(limits))
