"""What the values of a unit mean, checked beyond their types: the specs of its containers."""

from __future__ import annotations

import hashlib
import posixpath
import re
import shlex
from collections.abc import Iterable
from typing import Any

import msgspec

from drivers.errors import InvalidRequest
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
UNIT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class WrongValue(Exception):
    """A value that has the right type and still makes no sense."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def specs_of(name: str, table: UnitTable, file: str) -> tuple[ContainerSpec, ...]:
    """The spec of each replica. Raises WrongValue naming the key."""
    if bool(table.image) == bool(table.rootfs):
        raise WrongValue("image", "give either image or rootfs")
    if table.image:
        _check_reference(table.image)
    if table.rootfs and not table.rootfs.startswith("/"):
        raise WrongValue("rootfs", f"{table.rootfs!r} is not an absolute path")
    if not 1 <= table.replicas <= MAX_REPLICAS:
        raise WrongValue("replicas", f"must be 1 to {MAX_REPLICAS}")
    if table.network not in ("none", "host"):
        raise WrongValue("network", f"{table.network!r} is not one of none, host")
    if table.group and not UNIT_NAME.fullmatch(table.group):
        raise WrongValue("group", f"invalid name {table.group!r}")
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
        raise WrongValue("image", str(error)) from error


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
        raise WrongValue(KEYS[error.field or ""], str(error)) from error


def _checked(spec: ContainerSpec) -> ContainerSpec:
    """The spec, whose isolation makes sense on some host."""
    try:
        check_values(spec)
    except InvalidRequest as error:
        raise WrongValue(KEYS.get(error.field or "", "image"), str(error)) from error
    return spec


def _argv(key: str, value: str | list[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise WrongValue(key, str(error).lower()) from error
    if not words:
        raise WrongValue(key, "is empty")
    return tuple(words)


def _env(env: dict[str, str | int | float | bool] | list[str]) -> tuple[str, ...]:
    if isinstance(env, list):
        for item in env:
            if "=" not in item[1:]:
                raise WrongValue("env", f"{item!r} is not NAME=value")
        return tuple(env)
    for name in env:
        if not name or "=" in name:
            raise WrongValue("env", f"{name!r} is not a name")
    return tuple(f"{name}={_text(value)}" for name, value in env.items())


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _absolute(key: str, path: str) -> str:
    if path and not path.startswith("/"):
        raise WrongValue(key, f"{path!r} is not an absolute path")
    return posixpath.normpath(path) if path else ""


def _positive(key: str, value: float) -> float:
    if value < 0:
        raise WrongValue(key, "cannot be negative")
    return value


def _bytes(key: str, value: int | str) -> int:
    try:
        return parse_bytes(value)
    except InvalidRequest as error:
        raise WrongValue(key, str(error)) from error


def _limits(table: LimitsTable) -> ResourceLimits:
    try:
        return limits_of(table)
    except InvalidRequest as error:
        raise WrongValue(f"limits.{error.field}", str(error)) from error


def _mounts(table: UnitTable) -> Iterable[Bind | Tmpfs]:
    for text in table.volumes:
        parts = text.split(":")
        if len(parts) not in (2, 3) or not all(parts):
            raise WrongValue("volumes", f'{text!r} is not "/source:/target[:ro]"')
        if not parts[0].startswith("/"):
            raise WrongValue("volumes", f"a named volume ({parts[0]}) is not implemented yet")
        mode = parts[2] if len(parts) == 3 else "rw"
        if mode not in ("ro", "rw"):
            raise WrongValue("volumes", f"{mode!r} is neither ro nor rw")
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
        raise WrongValue("mounts.type", f"{mount.type!r} is not one of bind, tmpfs")
    if not mount.source.startswith("/"):
        raise WrongValue("mounts.source", f"{mount.source!r} is not an absolute path")
    return Bind(source=mount.source, target=target, read_only=mount.read_only)


def _signal(name: str) -> str:
    if name:
        try:
            parse_signal(name)
        except InvalidRequest as error:
            raise WrongValue("stop.signal", f"invalid signal {name!r}") from error
    return name


def _restart(table: RestartTable) -> RestartPolicy:
    for key in ("delay_min_s", "delay_max_s", "factor", "jitter", "reset_after_s"):
        _positive(f"restart.{key}", getattr(table, key))
    if table.jitter > 1:
        raise WrongValue("restart.jitter", "is a share: 0 to 1")
    fields: dict[str, Any] = {
        f: getattr(table, f) for f in table.__struct_fields__ if f != "policy"
    }
    return RestartPolicy(name=table.policy, **fields)


def _log(entry: dict[str, str | int | bool]) -> LogConfig:
    if "driver" not in entry:
        raise WrongValue("log", "an entry has no driver")
    options = {name: _text(value) for name, value in entry.items() if name != "driver"}
    return LogConfig(driver=str(entry["driver"]), options=options)
