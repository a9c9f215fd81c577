"""Which drivers there are: the built-in ones, and those of other packages by their entry points.

A package registers a driver under `creche.execution`, `creche.storage`, `creche.log` or
`creche.network`; the object named is what the built-in table names for that kind.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from drivers.errors import DriverError, IncompatibleFilesystem, NotFound, Unsupported
from drivers.storage.base import StorageDriver

Kind = Literal["execution", "storage", "log", "network"]

# In the order in which drivers are tried and shown.
BUILT_IN: Mapping[Kind, Mapping[str, str]] = {
    "execution": {
        "native": "drivers.execution.native:open_driver",
        "oci": "drivers.execution.oci.driver:open_driver",
    },
    "storage": {
        "overlay": "drivers.storage.overlay:open_driver",
        "vfs": "drivers.storage.vfs:open_driver",
    },
    "log": {
        "json-file": "drivers.log.jsonfile:open_driver",
        "none": "drivers.log.none:open_driver",
    },
    "network": {
        "none": "drivers.network.none:NoNetwork",
        "host": "drivers.network.host:HostNetwork",
    },
}


def names(kind: Kind) -> list[str]:
    """Every driver of a kind, the built-in ones first."""
    others = [point.name for point in entry_points(group=f"creche.{kind}")]
    return [*BUILT_IN[kind], *sorted(set(others) - BUILT_IN[kind].keys())]


def load(kind: Kind, name: str) -> Any:
    """What opens the driver of that name. Raises NotFound naming the nearest and all known."""
    target = BUILT_IN[kind].get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group=f"creche.{kind}", name=name):
        return point.load()
    known = names(kind)
    near = difflib.get_close_matches(name, known, 1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    raise NotFound(f"unknown {kind} driver {name!r}{hint} (known: {', '.join(known)})")


async def choose_storage(explicit: str, home: Path, options: Mapping[str, str]) -> StorageDriver:
    """The storage driver: the explicit one, else the one whose data is there, else what works.

    Each has its directory below `home`. Data of another driver is never silently ignored:
    DriverError names it. Raises Unsupported or IncompatibleFilesystem if the choice cannot work.
    """
    known = names("storage")
    with_data = [name for name in known if _has_data(home / name)]
    if explicit:
        others = [name for name in with_data if name != explicit]
        if others and explicit not in with_data:
            raise DriverError(
                f"storage driver {explicit!r} was asked for, but {home} holds data of "
                f"{others[0]!r}: start with --storage-driver {others[0]}, or with another --root"
            )
        return await _open(explicit, home, options)
    if len(with_data) > 1:
        raise DriverError(
            f"{home} holds data of several storage drivers ({', '.join(with_data)}): "
            "choose one with --storage-driver"
        )
    reasons = []
    for name in with_data or known:
        try:
            return await _open(name, home, options)
        except (Unsupported, IncompatibleFilesystem) as error:
            reasons.append(str(error))
    raise Unsupported("no storage driver works here: " + "; ".join(reasons))


async def _open(name: str, home: Path, options: Mapping[str, str]) -> StorageDriver:
    driver: StorageDriver = await load("storage", name)(home / name, options)
    return driver


def _has_data(home: Path) -> bool:
    return home.is_dir() and any(not entry.name.startswith(".") for entry in home.iterdir())
