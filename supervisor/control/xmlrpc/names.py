"""supervisor's names for processes: NAME, GROUP:NAME, GROUP:*."""

from __future__ import annotations

from supervisor.container import Container
from supervisor.control.faults import Fault
from supervisor.control.xmlrpc.faulted import Faulted
from supervisor.manager import Manager


def namespec(container: Container) -> str:
    """The name as supervisorctl shows it: the group only where it differs."""
    group = container.spec.group
    return container.name if group == container.name else f"{group}:{container.name}"


def find_one(manager: Manager, name: str) -> Container:
    """The process of NAME or GROUP:NAME. Raises Faulted BAD_NAME."""
    group, colon, process = name.partition(":")
    for container in manager.all():
        if container.name == (process if colon else name) and (
            not colon or container.spec.group == group
        ):
            return container
    raise Faulted(Fault.BAD_NAME, name)


def find_group(manager: Manager, group: str) -> list[Container]:
    """The processes of a group, by name. Raises Faulted BAD_NAME."""
    found = [container for container in manager.all() if container.spec.group == group]
    if not found:
        raise Faulted(Fault.BAD_NAME, group)
    return sorted(found, key=lambda container: container.name)


def find_all(manager: Manager) -> list[Container]:
    """Every process, by group and name."""
    return sorted(manager.all(), key=lambda c: (c.spec.group, c.name))
