"""Limits put into force on a control group, and replaced while processes run in it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable

from drivers.errors import DriverError, LimitUnavailable, from_os_error
from drivers.execution.cgroup_directories import Directories
from drivers.execution.cgroup_files import fields, read, write
from drivers.execution.cgroup_limits import Write, changes
from drivers.execution.resources import Limits


def apply(group: Directories, writes: Iterable[Write]) -> None:
    """Write limits in their order. Raises LimitUnavailable naming the one that cannot be set."""
    for limit in writes:
        _apply_one(group, limit)


def replace(group: Directories, before: Limits, after: Limits) -> None:
    """Have `after` hold instead of `before`.

    Raises LimitUnavailable or DriverError; then `before` holds again.
    """
    _refuse_less_memory_than_held(group, before, after)
    writes = changes(group.version, before, after)
    try:
        if group.version == 1:
            for controller in {limit.controller for limit in writes}:
                _join_late(group, controller)
        apply(group, writes)
    except DriverError:
        for limit in changes(group.version, after, before):
            with contextlib.suppress(LimitUnavailable):
                _apply_one(group, limit)
        raise


def _refuse_less_memory_than_held(group: Directories, before: Limits, after: Limits) -> None:
    """v2 would kill processes at once, where v1 refuses the limit."""
    wanted, had = after.memory_bytes, before.memory_bytes
    if group.version == 1 or wanted is None or (had is not None and wanted >= had):
        return
    held = fields(group.read("memory", "memory.stat")).get("anon", 0)
    if held > wanted:
        raise LimitUnavailable(
            f"memory cannot be limited to {wanted} bytes: control group {group.path} holds "
            f"{held} bytes that it cannot give back"
        )


def _join_late(group: Directories, controller: str) -> None:
    """v1: have the running processes in a controller that was not needed until now."""
    try:
        directory = group.add(controller)
        if directory is None:
            return  # without a mount the write tells
        moved: set[int] = set()
        while new := group.pids() - moved:  # forked before their parent was moved
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    write(f"{directory}/cgroup.procs", str(pid))
            moved |= new
    except OSError as error:
        raise from_os_error(error, f"extend control group {group.path}") from error


def _apply_one(group: Directories, limit: Write) -> None:
    try:
        _write(group, limit)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        if missing and (limit.optional or (limit.limit == "swap" and not _swap_exists())):
            return  # without swap the limit holds by itself
        file = limit.files[-1][0] if limit.files else "version 2"
        raise LimitUnavailable(
            f"{limit.limit} cannot be limited here: control group {group.path}, {file}: "
            f"{(error.strerror or 'refused').lower()} ({limit.help})"
        ) from error


def _write(group: Directories, limit: Write) -> None:
    directory = group.of(limit.controller)
    if directory is None:
        raise FileNotFoundError(errno.ENOENT, "no such controller", limit.controller)
    try:
        _write_first(directory, limit)
    except FileNotFoundError:
        if group.version == 1 or limit.optional or not limit.files:
            raise
        group.hand_down()  # somebody may have taken the controllers away
        _write_first(directory, limit)


def _write_first(directory: str, limit: Write) -> None:
    """Write to the first of the limit's files that exists. Raises OSError."""
    for file, value in limit.files:
        if value is None:
            value = read(f"{os.path.dirname(directory)}/{file}").strip()
        with contextlib.suppress(FileNotFoundError):
            write(f"{directory}/{file}", value)
            return
    raise FileNotFoundError(errno.ENOENT, "there is no such limit", directory)


def _swap_exists() -> bool:
    """Whether this host has any swap. Source: proc_swaps(5): one line of heading, then devices."""
    return len(read("/proc/swaps").splitlines()) > 1
