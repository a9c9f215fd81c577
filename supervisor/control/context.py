"""What the handlers work with."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from drivers.execution.cgroup_stats import host_memory_bytes
from supervisor.config import DaemonConfig
from supervisor.manager import Manager
from supervisor.shutdown import Shutdown
from supervisor.unit_manager import UnitManager

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The parts of the daemon that clients reach."""

    manager: Manager
    units: UnitManager
    config: DaemonConfig
    shutdown: Shutdown
    daemon_id: str
    cgroup_version: int
    spool: Path  # for uploads: a directory on the disk of the daemon's root


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What does not change while the daemon runs."""

    kernel: str
    operating_system: str
    architecture: str
    cpus: int
    memory_bytes: int
    name: str


def host_facts() -> HostFacts:
    """Look the facts up."""
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        system = "Linux"
    return HostFacts(
        kernel=platform.release(),
        operating_system=system,
        architecture=platform.machine(),
        cpus=os.cpu_count() or 1,
        memory_bytes=host_memory_bytes(),
        name=platform.node(),
    )


def go_architecture(machine: str) -> str:
    """The name that Go, and so Docker, gives an architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
