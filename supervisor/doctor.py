"""What works on this host, what does not, and what would help."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path

import msgspec
import trio

from drivers import registry
from drivers.errors import DriverError
from drivers.execution import cgroup
from drivers.log.base import LogContext
from supervisor.config import DaemonConfig

_LIMITS = {"memory": "--memory", "cpu": "--cpus", "pids": "--pids-limit"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a driver, or a facility of the host."""

    kind: str
    name: str
    works: bool
    problem: str = ""


async def examine(root: Path) -> list[Finding]:
    """Try every driver in a directory of its own below `root`, which is made if missing."""
    findings = [*_host()]
    scratch = await trio.to_thread.run_sync(_make_scratch, root)
    try:
        for name in registry.names("storage"):
            findings.append(await _try_storage(name, scratch / name))
        for name in registry.names("log"):
            findings.append(await _try_log(name, scratch))
    finally:
        await trio.to_thread.run_sync(shutil.rmtree, scratch, True)
    for name in registry.names("network"):
        registry.load("network", name)
        findings.append(Finding(kind="network", name=name, works=True))
    findings.append(_try_native())
    return findings


def _make_scratch(root: Path) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".doctor-", dir=root))


def _host() -> list[Finding]:
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    found = [
        Finding(
            kind="host",
            name=f"Linux {release}",
            works=version >= (5, 14),
            problem="" if version >= (5, 14) else "Creche needs Linux 5.14 or newer",
        ),
        Finding(
            kind="host",
            name="root",
            works=os.geteuid() == 0,
            problem="" if os.geteuid() == 0 else "creched runs as root",
        ),
    ]
    try:
        hierarchy = cgroup.detect()
    except DriverError as error:
        return [*found, Finding(kind="host", name="cgroups", works=False, problem=str(error))]
    found.append(Finding(kind="host", name=f"cgroup v{hierarchy.version}", works=True))
    return [*found, *_controllers(hierarchy)]


def _controllers(hierarchy: cgroup.Hierarchy) -> list[Finding]:
    """The controllers that limits need."""
    if hierarchy.version == 2:
        there = set((hierarchy.mounts[""] / "cgroup.controllers").read_text().split())
    else:
        there = set(hierarchy.mounts)
    return [
        Finding(
            kind="host",
            name=f"controller {name}",
            works=name in there,
            problem="" if name in there else f"{option} cannot be enforced: enable it at boot",
        )
        for name, option in _LIMITS.items()
    ]


async def _try_storage(name: str, home: Path) -> Finding:
    try:
        driver = await registry.load("storage", name)(home, {})
        await driver.cleanup()
    except DriverError as error:
        return Finding(kind="storage", name=name, works=False, problem=str(error))
    return Finding(kind="storage", name=name, works=True)


async def _try_log(name: str, directory: Path) -> Finding:
    context = LogContext(
        container_id="doctor",
        container_name="doctor",
        image_id="",
        image_name="",
        directory=directory,
    )
    try:
        driver = await registry.load("log", name)(context, {})
        await driver.close()
    except DriverError as error:
        return Finding(kind="log", name=name, works=False, problem=str(error))
    return Finding(kind="log", name=name, works=True)


def _try_native() -> Finding:
    problem = "" if os.geteuid() == 0 else "needs root"
    return Finding(kind="execution", name="native", works=not problem, problem=problem)


async def print_findings(config: DaemonConfig) -> None:
    """What `creched --doctor` prints: the findings as JSON."""
    print(msgspec.json.encode(await examine(Path(config.root))).decode())
