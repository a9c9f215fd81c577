"""What a container is on disk: made, unmade, and cleaned of what crashes left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import trio

from drivers.errors import (
    CrecheError,
    DriverError,
    InUse,
    InvalidRequest,
    NotFound,
    from_os_error,
)
from drivers.execution.base import ExecutionDriver
from drivers.kernel.tree import remove_tree
from drivers.storage.base import StorageDriver
from supervisor import log, mount_points
from supervisor.checks import check_values
from supervisor.command import check_mounts, write_etc_files
from supervisor.container import Container
from supervisor.images.image import Image
from supervisor.images.store import ImageStore
from supervisor.isolation import check_here
from supervisor.isolation import check_values as check_isolation
from supervisor.limits import check_on_host as check_limits_here
from supervisor.limits import check_values as check_limits
from supervisor.limits import host_processors
from supervisor.run import Drivers
from supervisor.spec import ContainerSpec, ImageDefaults, LogConfig, ResourceLimits, resolve
from supervisor.store import Store


def complete(asked: ContainerSpec, image: Image | None, default_log: LogConfig) -> ContainerSpec:
    """The whole spec of a container. Raises InvalidRequest for what makes no sense anywhere."""
    configs = tuple(
        # options without a driver are for the default driver
        config if config.driver else msgspec.structs.replace(config, driver=default_log.driver)
        for config in asked.log or (default_log,)
    )
    check_isolation(asked)
    if asked.isolation.uts_mode == "host":
        asked = msgspec.structs.replace(asked, hostname=os.uname().nodename)
    defaults = _defaults_of(image) if image else ImageDefaults()
    hostname = asked.hostname or (os.uname().nodename if asked.network == "host" else "")
    asked = msgspec.structs.replace(asked, log=configs, hostname=hostname)
    spec = resolve(asked, defaults)
    if not spec.argv:
        raise InvalidRequest("no command specified", field="Cmd")
    return spec


def _defaults_of(image: Image) -> ImageDefaults:
    config = image.config
    return ImageDefaults(
        id=image.id,
        entrypoint=tuple(config.entrypoint or ()),
        cmd=tuple(config.cmd or ()),
        env=tuple(config.env or ()),
        user=config.user or "",
        workdir=config.working_dir or "",
        labels=dict(config.labels or {}),
        stop_signal=config.stop_signal or "",
    )


def check(spec: ContainerSpec, drivers: Drivers) -> None:
    """Raise now what would be wrong at every start, whatever the host has."""
    check_values(spec)
    drivers.execution_of(spec)
    drivers.network_of(spec)
    check_limits(spec.limits)
    for config in spec.log:
        try:
            drivers.check_log(config.driver, config.options)
        except NotFound as error:  # to clients of `create`, what is not found is the image
            raise InvalidRequest(str(error), field="LogConfig") from error


def check_on_host(spec: ContainerSpec) -> None:
    """Raise now what would be wrong at every start on this host; blocks."""
    check_here(spec)
    check_mounts(spec)
    if spec.limits != ResourceLimits():
        check_limits_here(spec.limits, host_processors())


def make(container: Container, top_layer: str | None, drivers: Drivers, store: Store) -> None:
    """Everything of a container that is on disk; its row in the store comes last. Blocks.

    First it is checked. If it fails nothing is left.
    """
    spec = container.spec
    check_on_host(spec)
    try:
        try:
            _make_directory(spec, container.directory)
        except OSError as error:
            raise from_os_error(error, f"create container {container.name}") from error
        if not spec.rootfs:
            drivers.storage.create(spec.id, top_layer, mount_points.beneath_all(drivers.storage))
        store.save(spec, container.record)
    except BaseException:  # cancelled too: half a container is none
        _unmake_logged(container, drivers.storage, store)
        raise


def _make_directory(spec: ContainerSpec, directory: Path) -> None:
    directory.mkdir(mode=0o700)
    write_etc_files(spec, directory)


def unmake(container: Container, storage: StorageDriver, store: Store) -> None:
    """The reverse of `make`; blocks. The row goes last: writing it needs the room freed here.

    From the first step on it is `half_removed`, should the daemon be killed.
    """
    aside = container.directory.with_name(f".{container.id}")
    with contextlib.suppress(FileNotFoundError):
        container.directory.rename(aside)
    with contextlib.suppress(NotFound):
        storage.remove(container.id)
    _remove_directory(aside)
    store.delete(container.id)


def _unmake_logged(container: Container, storage: StorageDriver, store: Store) -> None:
    """As `unmake`, for what could not be made: why that was is what counts."""
    try:
        unmake(container, storage, store)
    except (CrecheError, OSError) as error:
        log.error("create.not_undone", name=container.name, error=error)


def half_removed(containers: Iterable[Container]) -> list[Container]:
    """Those whose removal has begun; blocks."""
    return [container for container in containers if not container.directory.is_dir()]


def _remove_directory(directory: Path) -> None:
    try:
        remove_tree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os_error(error, f"remove {directory}") from error


async def clean_debris(
    known: set[str], directory: Path, drivers: Drivers, images: ImageStore
) -> None:
    """Remove what is there of containers that are not `known`: a daemon was killed.

    Processes and control groups of the known ones go too: none runs at the daemon's start. What
    cannot be removed is logged: it must not cost anybody the others.
    """
    async with trio.open_nursery() as nursery:
        for driver in drivers.execution.values():
            for key in await driver.leftovers():
                nursery.start_soon(_clean, driver, key)
    await trio.to_thread.run_sync(_keep_layers, drivers.storage, known | images.layers())
    await trio.to_thread.run_sync(_keep_only, directory, known)


async def _clean(driver: ExecutionDriver, key: str) -> None:
    try:
        await driver.clean(key)
    except CrecheError as error:
        log.error("restore.not_cleaned", key=key, error=error)
    else:
        log.warning("restore.cleaned", key=key)


def _keep_layers(storage: StorageDriver, known: set[str]) -> None:
    unknown = set(storage.keys()) - known
    while unknown:  # children before their parents
        removed = [key for key in unknown if _try_remove(key, storage)]
        if not removed:
            break
        unknown -= set(removed)


def _try_remove(key: str, storage: StorageDriver) -> bool:
    try:
        storage.remove(key)
    except InUse:
        return False
    except DriverError as error:
        log.error("restore.not_removed", key=key, error=error)
        return False
    return True


def _keep_only(directory: Path, names: set[str]) -> None:
    for entry in directory.iterdir():
        if entry.name not in names:
            with contextlib.suppress(OSError):  # the next start tries again
                remove_tree(entry)
