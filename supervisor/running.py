"""What may be asked of containers and their processes while they run, and what they wrote.

Every operation runs in the daemon's nursery: a client that hangs up cancels its wait, never the
operation.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from functools import partial

import trio

from drivers.errors import Conflict, NotRunning
from drivers.execution.base import Info, WindowSize
from drivers.execution.resources import Usage
from drivers.log.base import Entry, ReadQuery
from supervisor import lifecycle, pausing, updating
from supervisor.attach import Attachment, attach
from supervisor.container import Container
from supervisor.containers import Containers
from supervisor.operations import run_detached
from supervisor.reading import read_logs
from supervisor.run import Drivers
from supervisor.spec import RestartPolicy
from supervisor.states import State
from supervisor.waiting import Condition, Wait, waiting


class Running:
    """Operations on containers that are there, by id, unique id prefix or name."""

    def __init__(self, *, nursery: trio.Nursery, drivers: Drivers) -> None:
        self.drivers = drivers
        self.containers = Containers()
        self._nursery = nursery

    def all(self) -> list[Container]:
        """All containers, newest first."""
        return self.containers.all()

    def find(self, ref: str) -> Container:
        """The container that `ref` names. Raises NotFound, or InvalidRequest if ambiguous."""
        return self.containers.find(ref)

    async def kill(self, ref: str, signum: int) -> None:
        """Send a signal as `docker kill` does: an end that follows is not a reason to restart."""
        await run_detached(self._nursery, partial(self._kill, self._running(ref), signum))

    async def _kill(self, container: Container, signum: int) -> None:
        ends = signum in (signal.SIGKILL, lifecycle.stop_signal(container))
        if ends:
            container.ending = True
        await self._signal(container, signum)
        if ends and container.record.state is State.PAUSED:  # it takes the signal as it goes on
            with contextlib.suppress(Conflict):  # it has ended already
                await pausing.unpause(container, self.drivers)

    async def signal(self, ref: str, signum: int) -> None:
        """Send a signal and nothing more. Raises NotRunning."""
        await self._signal(self._running(ref), signum)

    async def _signal(self, container: Container, signum: int) -> None:
        await self.drivers.execution_of(container.spec).kill(container.id, signum)
        container.announce("kill", signal=str(int(signum)))

    def _running(self, ref: str) -> Container:
        container = self.find(ref)
        if not container.record.pid:
            raise NotRunning(f"container {container.id} is not running")
        return container

    async def pause(self, ref: str) -> None:
        """Stop every process of a container where it is. Raises NotRunning, Conflict."""
        container = self.find(ref)
        await run_detached(self._nursery, partial(pausing.pause, container, self.drivers))

    async def unpause(self, ref: str) -> None:
        """Let a paused container go on. Raises Conflict."""
        container = self.find(ref)
        await run_detached(self._nursery, partial(pausing.unpause, container, self.drivers))

    async def update(
        self, ref: str, changes: dict[str, object], restart: RestartPolicy | None = None
    ) -> None:
        """Replace limits of a container, and its restart policy; see `updating.update`."""
        operation = partial(updating.update, self.find(ref), self.drivers, changes, restart)
        await run_detached(self._nursery, operation)

    async def stats(self, ref: str) -> Usage:
        """What a container has used and holds now. Raises NotRunning."""
        container = self._running(ref)
        return await self.drivers.execution_of(container.spec).stats(container.id)

    async def pids(self, ref: str) -> Sequence[int]:
        """Every process of a container, as the host numbers them. Raises NotRunning."""
        container = self._running(ref)
        return await self.drivers.execution_of(container.spec).pids(container.id)

    async def info(self, ref: str) -> Info:
        """What the kernel knows of a container now. Raises NotRunning."""
        container = self._running(ref)
        return await self.drivers.execution_of(container.spec).info(container.id)

    def waiting(self, ref: str, condition: Condition) -> contextlib.AbstractContextManager[Wait]:
        """A wait that counts from now: nothing that happens before it is awaited is missed."""
        return waiting(self.find(ref), condition)

    def attach(self, ref: str) -> contextlib.AbstractContextManager[Attachment]:
        """Attach to a container's streams, before it starts as well."""
        return attach(self.find(ref))

    def resize(self, ref: str, size: WindowSize) -> None:
        """Change the size of a container's terminal; before its start, that at its start."""
        container = self.find(ref)
        container.terminal.resize(size)
        container.announce("resize", height=str(size.rows), width=str(size.columns))

    def read_logs(
        self, ref: str, query: ReadQuery
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Sequence[Entry]]]:
        """Entries of a container's log; with `follow` until it is down."""
        return read_logs(self.find(ref), self.drivers, query)
