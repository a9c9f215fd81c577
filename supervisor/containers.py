"""Name -> container: finding them, and who needs whom."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from drivers.errors import AlreadyExists, InvalidRequest, NotFound
from supervisor.container import Container
from supervisor.joining import Neighbour

_ID_PREFIX = re.compile(r"[0-9a-f]{1,64}")


class Containers:
    """Every container of this daemon."""

    def __init__(self) -> None:
        self._by_id: dict[str, Container] = {}
        self._id_by_name: dict[str, str] = {}  # a container being created has its name already

    def reserve(self, name: str, container_id: str) -> None:
        """Take a name. Raises AlreadyExists in Docker's words."""
        holder = self._id_by_name.get(name)
        if holder is not None:
            raise AlreadyExists(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{holder}". You have to remove (or rename) that container to be able to '
                "reuse that name."
            )
        self._id_by_name[name] = container_id

    @contextlib.contextmanager
    def reserved(self, name: str, container_id: str) -> Iterator[None]:
        """Take a name, which is given back if the block fails. Raises AlreadyExists."""
        self.reserve(name, container_id)
        try:
            yield
        except BaseException:  # cancelled too: the name is free again
            self.release(name)
            raise

    def release(self, name: str) -> None:
        """Give a name back."""
        self._id_by_name.pop(name, None)

    def is_free(self, name: str) -> bool:
        """Whether no container has the name."""
        return name not in self._id_by_name

    def add(self, container: Container) -> None:
        """Take up a container whose name is reserved."""
        self._by_id[container.id] = container

    def drop(self, container: Container) -> None:
        """Forget a container and its name."""
        self._by_id.pop(container.id, None)
        self.release(container.name)

    def all(self) -> list[Container]:
        """All, newest first."""
        return sorted(self._by_id.values(), key=lambda c: c.spec.created_ns, reverse=True)

    def find(self, ref: str) -> Container:
        """The container of a name, an id, or the unique beginning of one.

        Raises NotFound, or InvalidRequest if several ids begin so.
        """
        bare = ref.removeprefix("/")
        found = self._by_id.get(bare) or self._by_id.get(self._id_by_name.get(bare, ""))
        if found is not None:
            return found
        matches = []
        if _ID_PREFIX.fullmatch(bare):
            matches = [c for key, c in self._by_id.items() if key.startswith(bare)]
        if len(matches) > 1:
            raise InvalidRequest(f"multiple IDs found with provided prefix: {bare}")
        if not matches:
            raise NotFound(f"No such container: {ref}")
        return matches[0]

    def neighbour(self, ref: str) -> Neighbour:
        """What another container that joins its namespaces needs. Raises as `find`."""
        container = self.find(ref)
        return Neighbour(
            id=container.id,
            pid=container.record.pid,
            start_time_ticks=container.record.start_time_ticks,
            ipc_mode=container.spec.isolation.ipc_mode,
            user_map=container.spec.user_map,
        )

    def of_unit(self, unit: str) -> list[Container]:
        """Every replica of a unit."""
        return [c for c in self._by_id.values() if c.spec.unit and c.spec.unit.unit == unit]

    def required_by(self, container: Container) -> list[Container]:
        """What must be ready before `container` starts. Raises NotFound for an unknown unit."""
        found: list[Container] = []
        for unit in container.spec.unit.requires if container.spec.unit else ():
            replicas = self.of_unit(unit)
            if not replicas:
                raise NotFound(f"unit {unit} is not there, which {container.name} requires")
            found += replicas
        return found

    def that_require(self, container: Container) -> list[Container]:
        """What must stop before `container` stops."""
        if container.spec.unit is None:
            return []
        unit = container.spec.unit.unit
        return [
            other
            for other in self._by_id.values()
            if other.spec.unit and unit in other.spec.unit.requires
        ]

    def started_before(self, container: Container) -> list[Container]:
        """What `after` names: waited for only while it is starting."""
        after = container.spec.unit.after if container.spec.unit else ()
        return [replica for unit in after for replica in self.of_unit(unit)]
