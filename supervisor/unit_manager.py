"""Units in action: which of them are active, and what reading the files again changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import trio

from drivers.errors import (
    AlreadyExists,
    ConfigError,
    Conflict,
    CrecheError,
    InvalidRequest,
    NotFound,
    RequestError,
)
from supervisor import log
from supervisor.container import Container
from supervisor.manager import Manager
from supervisor.spec import ContainerSpec
from supervisor.units import Reread, Unit, compare, load_units


class AvailableProcess(msgspec.Struct, frozen=True, kw_only=True):
    """One process that the unit files define."""

    spec: ContainerSpec
    group: str
    in_use: bool


class UnitManager:
    """Keeps the containers of units in step with the unit files, when asked to."""

    def __init__(self, manager: Manager, directory: Path) -> None:
        self._manager = manager
        self._directory = directory
        self._units: dict[str, Unit] = {}

    async def reread(self) -> Reread:
        """Read the files; what differs from what is active. Raises ConfigError."""
        units = await trio.to_thread.run_sync(load_units, self._directory)
        check_logs(units.values(), self._manager.drivers.check_log)
        self._units = units
        return compare(self._active(), self._wanted())

    def _active(self) -> dict[str, frozenset[str]]:
        groups: dict[str, set[str]] = {}
        for container in self.containers():
            assert container.spec.unit is not None
            identity = f"{container.name} {container.spec.unit.digest}"
            groups.setdefault(container.spec.group, set()).add(identity)
        return {group: frozenset(members) for group, members in groups.items()}

    def _wanted(self) -> dict[str, frozenset[str]]:
        groups: dict[str, set[str]] = {}
        for unit in self._units.values():
            for spec in unit.specs:
                assert spec.unit is not None
                groups.setdefault(unit.group, set()).add(f"{spec.name} {spec.unit.digest}")
        return {group: frozenset(members) for group, members in groups.items()}

    def containers(self, group: str | None = None) -> list[Container]:
        """The containers of units, of one group or all."""
        return [
            container
            for container in self._manager.all()
            if container.spec.unit and group in (None, container.spec.group)
        ]

    def available(self) -> list[AvailableProcess]:
        """Every process of the files that were read last, by group and name."""
        names = {container.name for container in self.containers()}
        found = [
            AvailableProcess(spec=spec, group=unit.group, in_use=spec.name in names)
            for unit in self._units.values()
            for spec in unit.specs
        ]
        return sorted(found, key=lambda each: (each.group, each.spec.name))

    async def add_group(self, group: str) -> None:
        """Make the containers of a group, all or none, and start those that start by themselves.

        Raises NotFound if the files have no such group, AlreadyExists if it is active, and
        InvalidRequest for one that cannot be made: its image is not there, a source of a mount.
        """
        specs = [s for unit in self._units.values() if unit.group == group for s in unit.specs]
        if not specs:
            raise NotFound(f"no such group: {group}")
        if self.containers(group):
            raise AlreadyExists(f"group {group} is active")
        made: list[Container] = []
        try:
            for spec in specs:
                made.append(await self._manager.create(spec))
        except CrecheError as error:
            for container in made:
                await self._manager.remove(container.id)
            if isinstance(error, RequestError):
                raise InvalidRequest(f"unit {spec.name}: {error}{_way_out(error)}") from error
            raise
        self._manager.start_by_themselves(made)

    async def remove_group(self, group: str) -> None:
        """Remove the containers of a group. Raises NotFound, Conflict if one is running."""
        containers = self.containers(group)
        if not containers:
            raise NotFound(f"no such group: {group}")
        if any(container.is_up for container in containers):
            raise Conflict(f"group {group} is still running")
        for container in containers:
            await self._manager.remove(container.id)

    async def take_up(self) -> None:
        """At the daemon's start: add what is new, replace what has changed.

        What is active and in no file any more stays, stopped: a wrong directory must not cost
        anybody a container. With a wrong file everything starts as it was: a slip of the pen must
        not cost anybody a service at the next boot. Raises ConfigError.
        """
        try:
            difference = await self.reread()
        except ConfigError:
            self._manager.start_by_themselves(self.containers())
            raise
        for group in difference.changed:
            await self.remove_group(group)
        for group in (*difference.changed, *difference.added):
            try:
                await self.add_group(group)
            except CrecheError as error:
                log.error("unit.not_added", group=group, error=error)
        gone = set(difference.removed)
        stay = [c for c in self.containers() if c.spec.group not in gone]
        self._manager.start_by_themselves([c for c in stay if not c.is_up])


def check_logs(units: Iterable[Unit], check: Callable[[str, Mapping[str, str]], None]) -> None:
    """Raise ConfigError for a log sink that `check` refuses: its driver or one of its options."""
    for unit in units:
        for sink in unit.specs[0].log:
            try:
                check(sink.driver, sink.options)
            except RequestError as error:
                raise ConfigError(
                    f"{unit.file}:{unit.log_line}: container.{unit.name}.log: {error}"
                ) from error


def _way_out(error: RequestError) -> str:
    return ": load it with `crechectl load` or `import`" if isinstance(error, NotFound) else ""
