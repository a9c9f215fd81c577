"""A manager over fakes and a virtual clock: everything of the daemon but processes and disks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from drivers.log.base import Batch, LogContext, LogDriver
from drivers.network.none import NoNetwork
from drivers.storage import vfs
from supervisor.container import Container
from supervisor.events import EventHub
from supervisor.id_pool import Pool, UserMaps
from supervisor.images.store import open_store as open_images
from supervisor.manager import Manager
from supervisor.run import Drivers
from supervisor.spec import ContainerSpec, LogConfig, RestartPolicy, UnitInfo
from supervisor.states import State
from supervisor.store import Store, open_store
from tests.fakes.execution import FakeExecution, Program, exits, runs_forever

FOREVER = ("forever",)
DEAF = ("deaf",)
TERM = 15


class MemoryLog:
    """Keeps batches in a list."""

    name = "memory"

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def open(self) -> None:
        pass

    async def log(self, batch: Batch) -> None:
        self.batches.append(batch)

    async def close(self) -> None:
        pass


@dataclass
class World:
    """The manager, and the fakes behind it."""

    manager: Manager
    execution: FakeExecution
    network: NoNetwork
    store: Store
    log: MemoryLog
    root: Path

    async def make(self, name: str, *argv: str, **fields: object) -> Container:
        """A container of a directory as its root."""
        spec = ContainerSpec(name=name, rootfs=str(self.root), cmd=argv)
        return await self.manager.create(msgspec.structs.replace(spec, **fields))

    async def make_unit(
        self,
        name: str,
        *argv: str,
        requires: tuple[str, ...] = (),
        ready_after_s: float = 1.0,
        **fields: object,
    ) -> Container:
        """The container of a unit."""
        unit = UnitInfo(
            unit=name,
            group=name,
            file="t",
            digest="d",
            requires=requires,
            ready_after_s=ready_after_s,
        )
        return await self.make(name, *argv, unit=unit, **fields)


def actions(world: World, container: Container) -> list[str]:
    """What has been told of a container."""
    return [e.action for e in world.manager.events.history(since_ns=0) if e.id == container.id]


@contextlib.asynccontextmanager
async def open_world(
    directory: Path, scripts: Mapping[tuple[str, ...], Program]
) -> AsyncIterator[World]:
    """A world that ends with the block, whatever runs in it."""
    (directory / "root").mkdir(exist_ok=True)
    (directory / "containers").mkdir(exist_ok=True)
    execution = FakeExecution(
        {FOREVER: runs_forever(), DEAF: runs_forever(ignoring=frozenset({TERM})), **scripts}
    )
    network, log = NoNetwork(), MemoryLog()

    async def open_log(name: str, context: LogContext, options: Mapping[str, str]) -> LogDriver:
        return log

    storage = await vfs.open_driver(directory / "storage", {})
    drivers = Drivers(
        execution={"fake": execution},
        storage=storage,
        network={"none": network},
        open_log=open_log,
        check_log=lambda name, options: None,
    )
    store = open_store(directory / "state.db")
    with contextlib.closing(store):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write_changes)
            manager = Manager(
                nursery=nursery,
                drivers=drivers,
                images=await open_images(directory / "images", storage),
                store=store,
                events=EventHub(),
                directory=directory / "containers",
                default_log=LogConfig(driver="memory"),
                user_maps=UserMaps(Pool()),
            )
            yield World(manager, execution, network, store, log, directory / "root")
            nursery.cancel_scope.cancel()


ALWAYS = RestartPolicy(name="always", delay_min_s=1.0, delay_max_s=8.0, reset_after_s=100.0)

__all__ = ["ALWAYS", "DEAF", "FOREVER", "State", "World", "actions", "exits", "open_world"]
