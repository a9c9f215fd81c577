"""Pausing a container: every process stopped where it is, and going on."""

from __future__ import annotations

from drivers.errors import Conflict, NotRunning
from supervisor.container import Container
from supervisor.run import Drivers
from supervisor.states import State


async def pause(container: Container, drivers: Drivers) -> None:
    """Stop every process. Raises NotRunning, Conflict if it is paused already or not ready.

    If it is stopped meanwhile, it is the stop that counts.
    """
    async with container.pausing:
        _check_running(container)
        if container.record.state is State.PAUSED:
            raise Conflict(f"Container {container.id} is already paused")
        execution = drivers.execution_of(container.spec)
        await execution.pause(container.id)
        if container.record.state is State.RUNNING:
            container.move(State.PAUSED)
            container.announce("pause")
        elif container.record.pid:
            await execution.unpause(container.id)


def _check_running(container: Container) -> None:
    match container.record.state:
        case State.BACKOFF:
            raise Conflict(
                f"Container {container.id} is restarting, wait until the container is running"
            )
        case State.STARTING | State.STOPPING if container.record.pid:
            raise Conflict(f"container {container.id} is {container.record.state}: it is not ready")
    if not container.record.pid:
        raise NotRunning(f"container {container.id} is not running")


async def unpause(container: Container, drivers: Drivers) -> None:
    """Let every process go on. Raises Conflict if it is not paused."""
    async with container.pausing:
        if container.record.state is not State.PAUSED:
            raise Conflict(f"Container {container.id} is not paused")
        await drivers.execution_of(container.spec).unpause(container.id)
        if container.record.state is State.PAUSED:  # else it has ended, or is just being stopped
            container.move(State.RUNNING)
            container.announce("unpause")
