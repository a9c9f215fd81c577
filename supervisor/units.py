"""Unit files: what runs on this host, as TOML; checked strictly and turned into specs.

Text in, values or ConfigError out. Nothing else is read but the profiles that units name.
"""

from __future__ import annotations

import difflib
import graphlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from drivers.errors import ConfigError
from supervisor import toml
from supervisor.spec import (
    ContainerSpec,
)
from supervisor.unit_specs import UNIT_NAME, WrongValue, specs_of
from supervisor.unit_tables import UnitTable


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One checked unit."""

    name: str
    file: str
    line: int  # at which its table begins
    requires_line: int
    log_line: int
    table: UnitTable
    specs: tuple[ContainerSpec, ...]  # one for each replica, as asked for

    @property
    def group(self) -> str:
        """supervisor's group."""
        return self.table.group or self.name


def load_units(directory: Path) -> dict[str, Unit]:
    """Every unit of DIR/*.toml by name; blocking. Raises ConfigError."""
    found: dict[str, Unit] = {}
    if not directory.is_dir():
        return found
    for path in sorted(directory.glob("*.toml")):
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        for unit in parse_units(text, str(path)):
            if unit.name in found:
                line = toml.line_of(text, ("container", unit.name))
                raise ConfigError(
                    f"{path}:{line}: container.{unit.name}: defined already in "
                    f"{found[unit.name].file}"
                )
            found[unit.name] = unit
    check_order(found)
    _check_process_names(found.values())
    return found


def parse_units(text: str, file: str) -> list[Unit]:
    """The units of one file. Raises ConfigError naming file, line and key."""
    data = toml.parse(text, file)
    for key in data:
        if key != "container":
            line = toml.line_of(text, (key,))
            raise ConfigError(f'{file}:{line}: {key}: unknown key, did you mean "container"?')
    tables = data.get("container", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{file}:{toml.line_of(text, ('container',))}: container: not a table")
    return [_unit(name, table, file, text) for name, table in tables.items()]


def _unit(name: str, data: object, file: str, text: str) -> Unit:
    at = ("container", name)
    if not UNIT_NAME.fullmatch(name):
        raise ConfigError(
            f"{file}:{toml.line_of(text, at)}: container.{name}: names have two or more of "
            "[a-zA-Z0-9_.-] and begin with a letter or digit"
        )
    table = toml.convert(data, UnitTable, file=file, text=text, at=at)
    try:
        specs = specs_of(name, table, file)
    except WrongValue as wrong:
        where = (*at, *wrong.key.split("."))
        line = toml.line_of(text, where)
        raise ConfigError(f"{file}:{line}: {'.'.join(where)}: {wrong}") from wrong
    return Unit(
        name=name,
        file=file,
        line=toml.line_of(text, at),
        requires_line=toml.line_of(text, (*at, "requires")),
        log_line=toml.line_of(text, (*at, "log")),
        table=table,
        specs=specs,
    )


def _check_process_names(units: Iterable[Unit]) -> None:
    owners: dict[str, Unit] = {}
    for unit in units:
        for spec in unit.specs:
            other = owners.setdefault(spec.name, unit)
            if other is not unit:
                raise ConfigError(
                    f"{unit.file}:{unit.line}: container.{unit.name}: a replica is named "
                    f"{spec.name}, as one of {other.name} in {other.file}"
                )


def check_order(units: Mapping[str, Unit]) -> None:
    """Raise ConfigError for a required unit that is not there, and for a circle of units."""
    graph: dict[str, list[str]] = {}
    for unit in units.values():
        for required in unit.table.requires:
            if required not in units:
                raise ConfigError(
                    f"{unit.file}:{unit.requires_line}: container.{unit.name}.requires: "
                    f"there is no unit {required!r}{_nearest(required, units)}"
                )
        graph[unit.name] = [*unit.table.requires, *(a for a in unit.table.after if a in units)]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        first = units[error.args[1][0]]
        raise ConfigError(
            f"{first.file}:{first.requires_line}: container.{first.name}.requires: "
            f"goes in a circle: {circle}"
        ) from error


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f', did you mean "{near[0]}"?' if near else ""


class Reread(msgspec.Struct, frozen=True, kw_only=True):
    """How the unit files differ from what is active, by groups, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]


def compare(active: Mapping[str, frozenset[str]], wanted: Mapping[str, frozenset[str]]) -> Reread:
    """The difference between two mappings of group -> what identifies its processes."""
    return Reread(
        added=sorted(wanted.keys() - active.keys()),
        changed=sorted(g for g in wanted.keys() & active.keys() if wanted[g] != active[g]),
        removed=sorted(active.keys() - wanted.keys()),
    )
