"""Which execution drivers the daemon has: Creche's own, and one for each OCI runtime."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from drivers import registry
from drivers.errors import ConfigError, InvalidRequest, Unsupported
from drivers.execution.base import ExecutionDriver
from drivers.keeper.client import Keeper
from supervisor.config import DaemonConfig

NATIVE = "native"
OCI = "oci"
# Runtimes that are taken up by themselves where they are installed.
WELL_KNOWN = ("runc", "crun", "youki", "runsc")
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a container can ask for, and the driver that it means."""

    driver: str
    options: dict[str, str] = {}

    @property
    def path(self) -> str:
        """What `docker info` shows as the runtime's path."""
        return self.options.get("runtime", self.driver)


def choices(config: DaemonConfig, installed: Mapping[str, str]) -> dict[str, Choice]:
    """Every name with its driver, the default first. Raises ConfigError.

    `installed` are the paths of well-known runtimes by their names.
    """
    default = config.exec_driver
    found = {name: _oci(path) for name, path in installed.items()}
    found |= {name: _oci(table.path) for name, table in config.runtimes.items()}
    if NATIVE in config.runtimes:
        raise ConfigError(f"runtimes.{NATIVE}: this name is Creche's own: choose another")
    found[NATIVE] = Choice(driver=NATIVE)
    if default == OCI:
        asked = config.exec_opt.get("runtime", WELL_KNOWN[0])
        default = os.path.basename(asked)
        found[default] = Choice(driver=OCI, options={**config.exec_opt, "runtime": asked})
    elif default in found:
        known = found[default]
        options = {**known.options, **config.exec_opt}
        found[default] = msgspec.structs.replace(known, options=options)
    else:
        found[default] = Choice(driver=default, options=config.exec_opt)
    return {default: found[default], **found}


def _oci(path: str) -> Choice:
    return Choice(driver=OCI, options={"runtime": path})


def installed_runtimes() -> dict[str, str]:
    """The paths of the well-known runtimes of this host; blocking."""
    path = f"{os.environ.get('PATH', '')}:{_SEARCH}"
    found = {name: shutil.which(name, path=path) for name in WELL_KNOWN}
    return {name: os.path.abspath(place) for name, place in found.items() if place}


def open_execution(choice: Choice, keeper: Keeper, *, cgroup_parent: str, directory: Path) -> Any:
    """Open the driver of a choice, whose files are below `directory`; blocking.

    Raises NotFound, ConfigError, DriverError.
    """
    opener = registry.load("execution", choice.driver)
    try:
        return opener(keeper, cgroup_parent, directory, choice.options)
    except InvalidRequest as error:
        raise ConfigError(f"exec-opt: {error}") from error


async def open_executions(
    config: DaemonConfig, keeper: Keeper, held: AsyncExitStack
) -> tuple[dict[str, ExecutionDriver], dict[str, str]]:
    """Every driver by the name that asks for it, and what `docker info` shows as their paths.

    `held` closes them. Raises ConfigError for one that was asked for and is not there.
    """
    drivers: dict[str, ExecutionDriver] = {}
    paths: dict[str, str] = {}
    for name, choice in choices(config, installed_runtimes()).items():
        try:
            driver = open_execution(
                choice,
                keeper,
                cgroup_parent=config.cgroup_parent,
                directory=Path(config.run_dir) / choice.driver,
            )
        except Unsupported as error:
            raise ConfigError(f"runtime {name}: {error}") from error
        held.push_async_callback(driver.close)
        drivers[name], paths[name] = driver, choice.path
    return drivers, paths
