"""Unit files: what runs on this host, as TOML; checked strictly and turned into specs.

Text in, values or ConfigError out. Nothing else is read but the profiles that units name.
"""

from __future__ import annotations

import difflib
import graphlib
import hashlib
import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from drivers.errors import ConfigError, InvalidRequest
from supervisor import toml
from supervisor.images.reference import parse as parse_reference
from supervisor.isolation import check_values
from supervisor.lifecycle import parse_signal
from supervisor.spec import (
    Bind,
    ContainerSpec,
    Isolation,
    LogConfig,
    ResourceLimits,
    RestartPolicy,
    Tmpfs,
    UnitInfo,
)
from supervisor.unit_isolation import KEYS, isolation_of
from supervisor.unit_limits import limits_of, parse_bytes
from supervisor.unit_tables import LimitsTable, MountTable, RestartTable, UnitTable

MAX_REPLICAS = 1000
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


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
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{file}:{toml.line_of(text, at)}: container.{name}: names have two or more of "
            "[a-zA-Z0-9_.-] and begin with a letter or digit"
        )
    table = toml.convert(data, UnitTable, file=file, text=text, at=at)
    try:
        specs = _specs(name, table, file)
    except _Wrong as wrong:
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


class _Wrong(Exception):
    """A value that has the right type and still makes no sense."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _specs(name: str, table: UnitTable, file: str) -> tuple[ContainerSpec, ...]:
    if bool(table.image) == bool(table.rootfs):
        raise _Wrong("image", "give either image or rootfs")
    if table.image:
        _check_reference(table.image)
    if table.rootfs and not table.rootfs.startswith("/"):
        raise _Wrong("rootfs", f"{table.rootfs!r} is not an absolute path")
    if not 1 <= table.replicas <= MAX_REPLICAS:
        raise _Wrong("replicas", f"must be 1 to {MAX_REPLICAS}")
    if table.network not in ("none", "host"):
        raise _Wrong("network", f"{table.network!r} is not one of none, host")
    if table.group and not _NAME.fullmatch(table.group):
        raise _Wrong("group", f"invalid name {table.group!r}")
    spec = _checked(_spec(table))
    content = msgspec.json.encode(table) + spec.isolation.seccomp.encode(errors="replace")
    digest = hashlib.sha256(content).hexdigest()
    info = UnitInfo(
        unit=name,
        group=table.group or name,
        file=file,
        digest=digest,
        autostart=table.autostart,
        requires=tuple(table.requires),
        after=tuple(table.after),
        ready_after_s=_positive("ready.after_s", table.ready.after_s),
    )
    names = [name] if table.replicas == 1 else [f"{name}_{n:02}" for n in range(table.replicas)]
    return tuple(msgspec.structs.replace(spec, name=each, unit=info) for each in names)


def _check_reference(name: str) -> None:
    try:
        parse_reference(name)
    except InvalidRequest as error:
        raise _Wrong("image", str(error)) from error


def _spec(table: UnitTable) -> ContainerSpec:
    """What all replicas have in common."""
    return ContainerSpec(
        image=table.image,
        rootfs=table.rootfs,
        entrypoint=_argv("entrypoint", table.entrypoint),
        cmd=_argv("command", table.command),
        env=_env(table.env),
        user=table.user,
        workdir=_absolute("workdir", table.workdir),
        hostname=table.hostname,
        labels=table.labels,
        open_stdin=table.stdin,
        mounts=tuple(_mounts(table)),
        limits=_limits(table.limits),
        network=table.network,
        execution=table.execution,
        read_only=table.read_only,
        isolation=_isolation(table),
        oom_score_adj=table.oom_score_adj,
        stop_signal=_signal(table.stop.signal),
        stop_grace_s=None
        if table.stop.grace_s is None
        else _positive("stop.grace_s", table.stop.grace_s),
        restart=_restart(table.restart),
        log=tuple(_log(entry) for entry in table.log),
    )


def _isolation(table: UnitTable) -> Isolation:
    try:
        return isolation_of(table)
    except InvalidRequest as error:
        raise _Wrong(KEYS[error.field or ""], str(error)) from error


def _checked(spec: ContainerSpec) -> ContainerSpec:
    """The spec, whose isolation makes sense on some host."""
    try:
        check_values(spec)
    except InvalidRequest as error:
        raise _Wrong(KEYS.get(error.field or "", "image"), str(error)) from error
    return spec


def _argv(key: str, value: str | list[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise _Wrong(key, str(error).lower()) from error
    if not words:
        raise _Wrong(key, "is empty")
    return tuple(words)


def _env(env: dict[str, str | int | float | bool] | list[str]) -> tuple[str, ...]:
    if isinstance(env, list):
        for item in env:
            if "=" not in item[1:]:
                raise _Wrong("env", f"{item!r} is not NAME=value")
        return tuple(env)
    for name in env:
        if not name or "=" in name:
            raise _Wrong("env", f"{name!r} is not a name")
    return tuple(f"{name}={_text(value)}" for name, value in env.items())


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _absolute(key: str, path: str) -> str:
    if path and not path.startswith("/"):
        raise _Wrong(key, f"{path!r} is not an absolute path")
    return posixpath.normpath(path) if path else ""


def _positive(key: str, value: float) -> float:
    if value < 0:
        raise _Wrong(key, "cannot be negative")
    return value


def _bytes(key: str, value: int | str) -> int:
    try:
        return parse_bytes(value)
    except InvalidRequest as error:
        raise _Wrong(key, str(error)) from error


def _limits(table: LimitsTable) -> ResourceLimits:
    try:
        return limits_of(table)
    except InvalidRequest as error:
        raise _Wrong(f"limits.{error.field}", str(error)) from error


def _mounts(table: UnitTable) -> Iterable[Bind | Tmpfs]:
    for text in table.volumes:
        parts = text.split(":")
        if len(parts) not in (2, 3) or not all(parts):
            raise _Wrong("volumes", f'{text!r} is not "/source:/target[:ro]"')
        if not parts[0].startswith("/"):
            raise _Wrong("volumes", f"a named volume ({parts[0]}) is not implemented yet")
        mode = parts[2] if len(parts) == 3 else "rw"
        if mode not in ("ro", "rw"):
            raise _Wrong("volumes", f"{mode!r} is neither ro nor rw")
        yield Bind(
            source=parts[0],
            target=_absolute("volumes", parts[1]),
            read_only=mode == "ro",
            make_source=True,
        )
    for target in table.tmpfs:
        yield Tmpfs(target=_absolute("tmpfs", target))
    for mount in table.mounts:
        yield _mount(mount)


def _mount(mount: MountTable) -> Bind | Tmpfs:
    target = _absolute("mounts.target", mount.target)
    if mount.type == "tmpfs":
        size = None if mount.size is None else _bytes("mounts.size", mount.size)
        mode = int(str(mount.mode), 8) if mount.mode is not None else 0o1777
        return Tmpfs(target=target, size_bytes=size, mode=mode, read_only=mount.read_only)
    if mount.type != "bind":
        raise _Wrong("mounts.type", f"{mount.type!r} is not one of bind, tmpfs")
    if not mount.source.startswith("/"):
        raise _Wrong("mounts.source", f"{mount.source!r} is not an absolute path")
    return Bind(source=mount.source, target=target, read_only=mount.read_only)


def _signal(name: str) -> str:
    if name:
        try:
            parse_signal(name)
        except InvalidRequest as error:
            raise _Wrong("stop.signal", f"invalid signal {name!r}") from error
    return name


def _restart(table: RestartTable) -> RestartPolicy:
    for key in ("delay_min_s", "delay_max_s", "factor", "jitter", "reset_after_s"):
        _positive(f"restart.{key}", getattr(table, key))
    if table.jitter > 1:
        raise _Wrong("restart.jitter", "is a share: 0 to 1")
    fields: dict[str, Any] = {
        f: getattr(table, f) for f in table.__struct_fields__ if f != "policy"
    }
    return RestartPolicy(name=table.policy, **fields)


def _log(entry: dict[str, str | int | bool]) -> LogConfig:
    if "driver" not in entry:
        raise _Wrong("log", "an entry has no driver")
    options = {name: _text(value) for name, value in entry.items() if name != "driver"}
    return LogConfig(driver=str(entry["driver"]), options=options)


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
