"""Which capabilities a container gets: Docker's rules for --cap-add, --cap-drop, --privileged."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.errors import InvalidRequest
from drivers.execution.defaults import DEFAULT_CAPABILITIES
from drivers.kernel.capabilities import NUMBER_OF
from supervisor.spec import Isolation

ALL = "ALL"


def capabilities_of(isolation: Isolation, available: frozenset[str]) -> frozenset[str]:
    """The capabilities of a container, where the daemon has `available` to give.

    "ALL" is all of those, and the default's are cut down to them; one that is asked for by name
    must be among them. Raises InvalidRequest.
    """
    added, dropped = (
        _named(isolation.cap_add, "CapAdd"),
        _named(isolation.cap_drop, "CapDrop"),
    )
    for name in sorted(added - {ALL} - available):
        raise InvalidRequest(
            "invalid CapAdd: capability not supported by your kernel or not available in the "
            f'current environment: "{name}"',
            field="CapAdd",
        )
    if isolation.privileged:
        return available
    if ALL in added:
        return available - dropped
    if ALL in dropped:
        return added
    return (DEFAULT_CAPABILITIES & available) - dropped | added


def check_capability_names(isolation: Isolation) -> None:
    """Raise InvalidRequest, in Docker's words, for a name that is no capability's."""
    _named(isolation.cap_add, "CapAdd")
    _named(isolation.cap_drop, "CapDrop")


def _named(names: Iterable[str], field: str) -> frozenset[str]:
    return frozenset(_normal(name, field) for name in names)


def _normal(name: str, field: str) -> str:
    """The kernel's name: case does not matter, nor whether it begins with CAP_."""
    upper = name.upper()
    if upper == ALL:
        return ALL
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in NUMBER_OF:
        raise InvalidRequest(f'invalid {field}: unknown capability: "{full}"', field=field)
    return full
