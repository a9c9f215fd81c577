"""creched: the composition root. Opens drivers and state, serves the socket, and ends in order."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import secrets
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from drivers import registry
from drivers.errors import (
    HOST_ERRORS,
    ConfigError,
    CrecheError,
    Unsupported,
    from_os_error,
    leaves,
    reported,
)
from drivers.execution import cgroup
from drivers.execution.hierarchy import make_room_in_service
from drivers.keeper.client import open_keeper
from drivers.kernel.descriptors import give_back_limit, raise_limit
from drivers.kernel.memory import share_one_arena
from drivers.log.base import LogContext, LogDriver
from supervisor import log, rootless
from supervisor.config import DaemonConfig, parse_arguments
from supervisor.control import app
from supervisor.control.context import Control
from supervisor.control.server import Server, group_id_of, open_socket
from supervisor.events import EventHub
from supervisor.images.store import open_store as open_images
from supervisor.manager import Manager
from supervisor.run import Drivers
from supervisor.runtimes import open_executions
from supervisor.shutdown import Shutdown
from supervisor.spec import LogConfig
from supervisor.store import open_store
from supervisor.subids import open_user_maps
from supervisor.unit_manager import UnitManager, check_logs
from supervisor.units import load_units

OLDEST_KERNEL = (5, 14)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """The command `creched`."""
    try:
        invocation = parse_arguments(sys.argv[1:])
        config = invocation.config
        if rootless.is_rootless():
            config = rootless.with_own_places(config)
        match invocation.action:
            case "check":
                print(f"{check_config(config)} units, no errors")
            case "doctor":
                from supervisor.doctor import print_findings

                trio.run(print_findings, config, rootless.try_enter())
            case "serve":
                _serve(config)
    except* CrecheError as group:
        _fail(leaves(group)[0])


def _fail(error: CrecheError) -> None:
    sys.exit(f"creched: error: {error}")


def _serve(config: DaemonConfig) -> None:
    log.set_up(config.log_level)
    check_host()
    if os.geteuid() != 0:
        rootless.enter()
    else:
        make_room_in_service()
    shutdown = Shutdown()
    share_one_arena()
    raise_limit()
    trio.run(run, config, shutdown)
    if shutdown.restart:
        give_back_limit()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def check_config(config: DaemonConfig) -> int:
    """Raise CrecheError for the first thing that is wrong; how many units there are."""
    check_drivers(config)
    units = load_units(Path(config.units))
    check_logs(units.values(), check_log)
    return len(units)


def check_drivers(config: DaemonConfig) -> None:
    """Raise NotFound for a driver that is not known, InvalidRequest for its log options."""
    registry.load("execution", config.exec_driver)
    if config.storage_driver:
        registry.load("storage", config.storage_driver)
    check_log(config.log_driver, config.log_opt)
    open_user_maps(config)


def check_host() -> None:
    """Raise ConfigError or Unsupported for a host on which the daemon cannot work."""
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if version < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        raise Unsupported(f"this kernel is {release}: Creche needs Linux {oldest} or newer")
    if importlib.util.find_spec("supervisor.supervisord") is not None:
        raise ConfigError(
            "the package `supervisor` of this environment is another program's: "
            "install Creche in an environment of its own (pipx install creche)"
        )


async def run(config: DaemonConfig, shutdown: Shutdown) -> None:
    """The daemon from its first file to its last; returns when `shutdown` is asked for."""
    check_drivers(config)  # a wrong name is told now, not at the first start
    user_maps = open_user_maps(config, rootless_ids=rootless.own_ids())
    root, run_dir = Path(config.root), Path(config.run_dir)
    async with AsyncExitStack() as held:
        make_private(root)
        make_private(run_dir, mode=0o755)
        held.callback(os.close, lock(root))
        group_id = group_id_of(config.socket_group)
        listener = open_socket(config.socket_path, group_id)
        held.push_async_callback(listener.aclose)
        held.callback(config.socket_path.unlink, missing_ok=True)
        drivers = await _open_drivers(config, held)
        images = await open_images(root / "images", drivers.storage)
        store = open_store(root / "state.db")
        held.callback(store.close)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write_changes)
            manager = Manager(
                nursery=nursery,
                drivers=drivers,
                images=images,
                store=store,
                events=EventHub(),
                directory=make_private(root / "containers"),
                default_log=LogConfig(driver=config.log_driver, options=config.log_opt),
                user_maps=user_maps,
            )
            units = UnitManager(manager, Path(config.units))
            control = Control(
                manager=manager,
                units=units,
                config=config,
                shutdown=shutdown,
                daemon_id=secrets.token_hex(16),
                cgroup_version=cgroup.detect().version,
                spool=make_private(root / "tmp"),
            )
            await manager.restore()
            server = Server(app.router(control), name=app.SERVER_NAME, group_id=group_id)
            nursery.start_soon(server.serve, listener)
            nursery.start_soon(_watch_signals, control)
            await _start_units(control)
            log.info("daemon.ready", socket=config.socket_path, storage=drivers.storage.name)
            await shutdown.wait()
            log.info("daemon.stopping", containers=sum(c.is_up for c in manager.all()))
            await manager.stop_all()
            nursery.cancel_scope.cancel()
    log.info("daemon.stopped")


async def _start_units(control: Control) -> None:
    """Start what starts by itself; a wrong unit file is told and stops nothing else."""
    control.manager.start_by_themselves([c for c in control.manager.all() if c.spec.unit is None])
    try:
        await control.units.take_up()
    except CrecheError as error:
        log.error("units.not_loaded", error=error)


async def _open_drivers(config: DaemonConfig, held: AsyncExitStack) -> Drivers:
    storage = await registry.choose_storage(
        config.storage_driver, Path(config.root) / "storage", config.storage_opt
    )
    held.push_async_callback(trio.to_thread.run_sync, storage.cleanup)
    keeper = await held.enter_async_context(open_keeper())
    execution, runtime_paths = await open_executions(config, keeper, held)
    return Drivers(
        execution=execution,
        runtime_paths=runtime_paths,
        storage=storage,
        network={name: registry.load("network", name)() for name in registry.names("network")},
        open_log=open_log,
        check_log=check_log,
    )


async def open_log(name: str, context: LogContext, options: Mapping[str, str]) -> LogDriver:
    """Open a log driver by its name. Raises NotFound, InvalidRequest, DriverError."""
    driver: LogDriver = await registry.load("log", name)(context, options)
    return driver


def check_log(name: str, options: Mapping[str, str]) -> None:
    """Raise NotFound for an unknown log driver, InvalidRequest for options it does not take."""
    opener = registry.load("log", name)
    validate = getattr(sys.modules[opener.__module__], "validate", None)
    if validate is not None:
        validate(options)


async def _watch_signals(control: Control) -> None:
    """TERM and INT end the daemon, HUP reads the unit files again."""
    with trio.open_signal_receiver(*_STOP_SIGNALS, signal.SIGHUP) as signals:
        async for number in signals:
            if number in _STOP_SIGNALS:
                control.shutdown.ask()
                continue
            try:
                difference = await control.units.reread()
                log.info("units.reread", difference=difference)
            except* (CrecheError, *HOST_ERRORS) as group:
                for error in reported(group, "read the unit files"):
                    log.error("units.reread", error=error)


def make_private(directory: Path, *, mode: int = 0o700) -> Path:
    """Make a directory; refuse one that others may write to, or read if it is to be private.

    Raises ConfigError naming it and the command that mends it.
    """
    try:
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise from_os_error(error, f"make {directory}") from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o777 & ~mode:
        raise ConfigError(
            f"{directory} is open to others (mode {found.st_mode & 0o777:o}, owner "
            f"{found.st_uid}): `chown root: {directory}; chmod {mode:o} {directory}`"
        )
    return directory


def lock(root: Path) -> int:
    """Hold the root for this daemon alone. Raises ConfigError if another one has it."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise ConfigError(f"{root} is in use by another daemon: choose another --root") from error
    return fd


if __name__ == "__main__":
    main()
