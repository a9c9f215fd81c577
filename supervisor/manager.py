"""The containers of this host and what may be done with them; the only owner of their state.

Every operation runs in the daemon's nursery: a client that hangs up cancels its wait, never the
operation.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import trio

from drivers.errors import (
    HOST_ERRORS,
    Conflict,
    CrecheError,
    NotModified,
    NotRunning,
    reported,
)
from drivers.threads import in_thread, in_thread_or_here
from supervisor import lifecycle, log, making
from supervisor.container import Container
from supervisor.events import EventHub
from supervisor.execs.instances import ExecInstances
from supervisor.id_pool import UserMaps
from supervisor.images.store import ImageStore
from supervisor.joining import with_ids
from supervisor.names import check_name, new_id, new_name
from supervisor.operations import run_detached
from supervisor.reading import open_logs
from supervisor.run import Drivers
from supervisor.running import Running
from supervisor.spec import ContainerSpec, LogConfig
from supervisor.states import READY, Record, State
from supervisor.store import Store
from supervisor.userns import Caller


class Manager(Running):
    """Creates, runs and removes containers, by id, unique id prefix or name."""

    def __init__(
        self,
        *,
        nursery: trio.Nursery,
        drivers: Drivers,
        images: ImageStore,
        store: Store,
        events: EventHub,
        directory: Path,
        default_log: LogConfig,
        user_maps: UserMaps,
    ) -> None:
        super().__init__(nursery=nursery, drivers=drivers)
        self.images = images
        self.events = events
        self.execs = ExecInstances(nursery, lambda spec: self.drivers.execution_of(spec))
        self._store = store
        self._directory = directory  # holds one private directory for each container
        self._default_log = default_log
        self._user_maps = user_maps

    # -- there or not there

    async def create(self, asked: ContainerSpec, caller: Caller | None = None) -> Container:
        """A new container from a spec without id.

        Raises NotFound for an unknown image, AlreadyExists for a name in use, InvalidRequest.
        """
        return await run_detached(self._nursery, partial(self._create, asked, caller or Caller()))

    async def _create(self, asked: ContainerSpec, caller: Caller) -> Container:
        container_id = new_id()
        name = check_name(asked.name) if asked.name else self._unused_name()
        image = None if asked.rootfs else self.images.find(asked.image)
        asked = msgspec.structs.replace(
            asked, id=container_id, name=name, created_ns=time.time_ns()
        )
        asked = with_ids(asked, self.containers.neighbour)
        spec = making.complete(asked, image, self._default_log)
        making.check(spec, self.drivers)
        with (
            self.containers.reserved(name, container_id),
            self._user_maps.assigned(spec, caller, self.containers.neighbour) as spec,
        ):
            container = self._new(spec, Record())
            top_layer = image.top_layer if image else None
            make = partial(making.make, container, top_layer, self.drivers, self._store)
            await in_thread(make)
        self.containers.add(container)
        container.announce("create")
        return container

    def _unused_name(self) -> str:
        while not self.containers.is_free(name := new_name()):
            pass
        return name

    def _new(self, spec: ContainerSpec, record: Record) -> Container:
        return Container(
            spec,
            record,
            directory=self._directory / spec.id,
            announce=self._announce,
            save=self._store.save_soon,
        )

    def _announce(self, container: Container, action: str, attributes: dict[str, str]) -> None:
        about = {"image": container.spec.image, "name": container.name, **container.spec.labels}
        self.events.publish("container", action, container.id, {**about, **attributes})

    async def remove(self, ref: str, *, force: bool = False) -> None:
        """Remove a container with its writable layer and logs; `force` kills it first.

        Raises Conflict, in Docker's words, if it is running.
        """
        container = self.find(ref)
        await run_detached(self._nursery, partial(self._remove, container, force))

    async def _remove(self, container: Container, force: bool) -> None:
        if container.is_up:
            if not force:
                status = container.record.docker_status
                raise Conflict(
                    f'cannot remove container "/{container.name}": container is {status}'
                    + (
                        " and must be unpaused first"
                        if status == "paused"
                        else ": stop the container before removing or force remove"
                    )
                )
            await lifecycle.end(container, self.drivers, signum=signal.SIGKILL, grace_s=0)
        async with container.starting:
            if container.record.state is State.REMOVING:
                raise Conflict(f"removal of container {container.name} is already in progress")
            container.move(State.REMOVING)
        try:
            self._store.drop_changes(container.id)
            unmake = partial(making.unmake, container, self.drivers.storage, self._store)
            await in_thread_or_here(unmake)
        except (CrecheError, *HOST_ERRORS) as error:
            container.move(State.DEAD, error=str(error))
            raise
        self.containers.drop(container)
        self._user_maps.give_back(container.id)
        container.gone()
        container.announce("destroy")

    async def _try_remove(self, container: Container) -> None:
        """Remove a container that nobody has asked to remove just now; a failure is logged."""
        try:
            await self._remove(container, force=False)
        except* Conflict:
            pass  # it is up again, or somebody else removes it
        except* (CrecheError, *HOST_ERRORS) as group:
            for error in reported(group, f"remove container {container.name}"):
                log.error("container.not_removed", name=container.name, error=error)

    async def rename(self, ref: str, name: str) -> None:
        """Give a container another name. Raises AlreadyExists, InvalidRequest."""
        container = self.find(ref)
        old, new = container.name, check_name(name)
        if old == new:
            raise Conflict("Renaming a container with the same name as its current name")
        self.containers.reserve(new, container.id)
        self.containers.release(old)
        container.spec = msgspec.structs.replace(container.spec, name=new)
        container.touch()
        container.announce("rename", oldName=f"/{old}")

    # -- up or down

    async def start(self, ref: str) -> None:
        """Start a container, what it requires first; returns when its command is executed.

        Raises NotModified if it is up, the SpawnFailed family if it cannot be.
        """
        container = self.find(ref)
        await run_detached(self._nursery, partial(self._start, container))

    async def start_ready(self, ref: str) -> None:
        """As `start`, but returns when it is ready. Raises NotRunning if it ends before."""
        container = self.find(ref)
        await run_detached(self._nursery, partial(self._start_ready, container))

    async def _start(self, container: Container) -> None:
        async with container.starting:
            if container.record.state is State.STOPPING:
                await container.at_rest()
            if container.record.state is State.PAUSED:
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.is_up:
                raise NotModified(f"container {container.name} is already running")
            if container.record.state in (State.REMOVING, State.DEAD):
                raise Conflict(f"container {container.name} is marked for removal")
            starts = container.starts
            container.begin()
            self._nursery.start_soon(self._live, container)
        await container.until(lambda: container.starts > starts or not container.is_up)
        if container.start_failure:
            raise container.start_failure

    async def _start_ready(self, container: Container) -> None:
        with contextlib.suppress(NotModified):
            await self._start(container)
        await container.until(lambda: container.record.state not in (State.STARTING, State.CREATED))
        if container.start_failure:
            raise container.start_failure
        if container.record.state not in READY and not container.last_run_was_ready:
            raise NotRunning(
                f"{container.name} ended with exit code {container.record.exit_code} "
                "before it was ready"
            )

    async def _live(self, container: Container) -> None:
        await lifecycle.live(
            container, self.drivers, self._requirements, open_logs, self.containers.neighbour
        )
        if container.spec.auto_remove:
            await self._try_remove(container)

    async def _requirements(self, container: Container) -> None:
        """Have everything ready that the container requires, started if need be."""
        required = self.containers.required_by(container)
        if required:  # hardly anybody does
            async with trio.open_nursery() as nursery:
                for other in required:
                    nursery.start_soon(self._start_ready, other)
        for earlier in self.containers.started_before(container):
            await earlier.not_starting()

    async def stop(
        self, ref: str, *, grace_s: float | None = None, signum: int | None = None
    ) -> None:
        """Stop a container, what requires it first; returns when it is reaped and its log flushed.

        Raises NotModified if it is down.
        """
        container = self.find(ref)
        if not container.is_up:
            raise NotModified(f"container {container.name} is not running")
        await run_detached(self._nursery, partial(self._stop, container, grace_s, signum))

    async def _stop(
        self, container: Container, grace_s: float | None = None, signum: int | None = None
    ) -> None:
        async with trio.open_nursery() as nursery:
            for dependent in self.containers.that_require(container):
                nursery.start_soon(self._stop, dependent)
        if container.is_up:
            await lifecycle.end(container, self.drivers, signum=signum, grace_s=grace_s)
            container.announce("stop")

    async def restart(
        self, ref: str, *, grace_s: float | None = None, signum: int | None = None
    ) -> None:
        """Stop and start a container, and with it whatever ran that requires it."""
        container = self.find(ref)
        await run_detached(self._nursery, partial(self._restart, container, grace_s, signum))

    async def _restart(
        self, container: Container, grace_s: float | None, signum: int | None
    ) -> None:
        again = [c for c in self.containers.that_require(container) if c.is_up]
        await self._stop(container, grace_s, signum)
        with contextlib.suppress(NotModified):
            await self._start(container)
        for dependent in again:
            with contextlib.suppress(NotModified):
                await self._start(dependent)
        container.announce("restart")

    async def stop_all(self) -> None:
        """Stop everything in reverse dependency order, as the daemon goes; not for good.

        Containers that start by themselves do so again with the next daemon.
        """
        async with trio.open_nursery() as nursery:
            for container in self.all():
                nursery.start_soon(self._stop_for_now, container)

    async def _stop_for_now(self, container: Container) -> None:
        for dependent in self.containers.that_require(container):
            await dependent.at_rest()
        if not container.is_up:
            return
        try:
            await lifecycle.end(container, self.drivers, state=State.EXITED)
        except CrecheError as error:  # the others are to be stopped all the same
            log.error("container.not_stopped", name=container.name, error=error)

    # -- at the start of the daemon

    async def restore(self) -> None:
        """Take up the containers that were stored, and clean what crashes left of any."""
        for spec, record in await trio.to_thread.run_sync(self._store.load):
            container = self._new(spec, lifecycle.after_restart(record))
            self.containers.reserve(spec.name, spec.id)
            self.containers.add(container)
            self._user_maps.take_up(spec)
            if container.record != record:
                container.touch()
        known = {container.id for container in self.all()}
        await making.clean_debris(known, self._directory, self.drivers, self.images)
        begun = await trio.to_thread.run_sync(making.half_removed, self.all())
        for container in self.all():
            if container.record.state is State.DEAD or container in begun:
                await self._try_remove(container)

    def start_by_themselves(self, containers: Iterable[Container]) -> None:
        """Start those of them that run without being asked, as restart policies and units say."""
        for container in containers:
            if lifecycle.starts_with_daemon(container):
                self._nursery.start_soon(self._start_logged, container)

    async def _start_logged(self, container: Container) -> None:
        try:
            await self._start(container)
        except NotModified:
            pass  # something that requires it was quicker
        except CrecheError as error:
            log.error("container.not_started", name=container.name, error=error)
