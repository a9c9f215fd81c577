"""The methods, one function each; METHODS is all that a client can reach."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from drivers.errors import (
    AlreadyExists,
    CommandNotExecutable,
    CommandNotFound,
    ConfigError,
    Conflict,
    CrecheError,
    InvalidRequest,
    NotFound,
    NotModified,
    NotRunning,
)
from supervisor.container import Container
from supervisor.control.context import VERSION, Control
from supervisor.control.faults import Fault, fault_code
from supervisor.control.xmlrpc import logs
from supervisor.control.xmlrpc.faulted import Faulted
from supervisor.control.xmlrpc.info import config_info, process_info
from supervisor.control.xmlrpc.names import find_all, find_group, find_one, namespec
from supervisor.lifecycle import parse_signal

API_VERSION = "3.0"
Method = Callable[..., Awaitable[Any]]


async def get_api_version(control: Control) -> str:
    """The version of the interface."""
    return API_VERSION


async def get_supervisor_version(control: Control) -> str:
    """The version of the daemon."""
    return VERSION


async def get_identification(control: Control) -> str:
    """Who answers."""
    return "creche"


async def get_state(control: Control) -> dict[str, Any]:
    """The daemon's own state: 1 RUNNING, -1 SHUTDOWN."""
    ending = control.shutdown.is_asked
    return {"statecode": -1 if ending else 1, "statename": "SHUTDOWN" if ending else "RUNNING"}


async def get_pid(control: Control) -> int:
    """The daemon's pid."""
    return os.getpid()


async def read_log(control: Control, offset: int, length: int) -> str:
    """The daemon's own log: it goes to standard error, so there is no file."""
    raise Faulted(Fault.NO_FILE, "creched logs to its standard error: see `journalctl -u creched`")


async def shutdown(control: Control) -> bool:
    """End the daemon."""
    control.shutdown.ask()
    return True


async def restart(control: Control) -> bool:
    """End the daemon and start it again."""
    control.shutdown.ask(restart=True)
    return True


async def get_process_info(control: Control, name: str) -> dict[str, Any]:
    """One process."""
    return process_info(find_one(control.manager, name))


async def get_all_process_info(control: Control) -> list[dict[str, Any]]:
    """Every process."""
    return [process_info(container) for container in find_all(control.manager)]


async def get_all_config_info(control: Control) -> list[dict[str, Any]]:
    """Every process of the unit files that were read last."""
    return [config_info(process) for process in control.units.available()]


async def start_process(control: Control, name: str, wait: bool = True) -> Any:
    """Start one process; with `wait` until it is ready. GROUP:* starts the group."""
    if name.endswith(":*"):
        return await start_process_group(control, name[:-2], wait)
    await _start(control, wait, find_one(control.manager, name))
    return True


async def _start(control: Control, wait: bool, container: Container) -> None:
    name = namespec(container)
    if container.is_up:
        raise Faulted(Fault.ALREADY_STARTED, name)
    begin = control.manager.start_ready if wait else control.manager.start
    try:
        await begin(container.id)
    except NotModified as error:
        raise Faulted(Fault.ALREADY_STARTED, name) from error
    except NotRunning as error:
        raise Faulted(Fault.ABNORMAL_TERMINATION, name) from error
    except (CommandNotFound, CommandNotExecutable) as error:
        raise Faulted(fault_code(error), f"{name}: {error}") from error
    except CrecheError as error:
        raise Faulted(Fault.SPAWN_ERROR, f"{name}: {error}") from error


async def stop_process(control: Control, name: str, wait: bool = True) -> Any:
    """Stop one process. GROUP:* stops the group."""
    if name.endswith(":*"):
        return await stop_process_group(control, name[:-2], wait)
    await _stop(control, find_one(control.manager, name))
    return True


async def _stop(control: Control, container: Container) -> None:
    name = namespec(container)
    try:
        await control.manager.stop(container.id)
    except NotModified as error:
        raise Faulted(Fault.NOT_RUNNING, name) from error
    except CrecheError as error:
        raise Faulted(Fault.FAILED, f"{name}: {error}") from error


async def signal_process(control: Control, name: str, signal: str | int) -> Any:
    """Send a signal to one process. GROUP:* sends it to the group."""
    if name.endswith(":*"):
        return await signal_process_group(control, name[:-2], signal)
    await _signal(control, signal, find_one(control.manager, name))
    return True


async def _signal(control: Control, signal: str | int, container: Container) -> None:
    try:
        number = parse_signal(str(signal))
    except InvalidRequest as error:
        raise Faulted(Fault.BAD_SIGNAL, signal) from error
    try:
        await control.manager.signal(container.id, number)
    except NotRunning as error:
        raise Faulted(Fault.NOT_RUNNING, namespec(container)) from error


async def _each(
    containers: list[Container], act: Callable[[Container], Awaitable[None]]
) -> list[dict[str, Any]]:
    """Act on all at a time; how it went with each, in the order given."""
    results: dict[str, dict[str, Any]] = {}

    async def one(container: Container) -> None:
        status, description = Fault.SUCCESS, "OK"
        try:
            await act(container)
        except Faulted as faulted:
            status, description = faulted.fault, faulted.text
        about = {"name": container.name, "group": container.spec.group}
        results[container.id] = {**about, "status": int(status), "description": description}

    async with trio.open_nursery() as nursery:
        for container in containers:
            nursery.start_soon(one, container)
    return [results[container.id] for container in containers]


async def start_process_group(control: Control, group: str, wait: bool = True) -> Any:
    """Start what is down of a group."""
    down = [c for c in find_group(control.manager, group) if not c.is_up]
    return await _each(down, partial(_start, control, wait))


async def start_all_processes(control: Control, wait: bool = True) -> Any:
    """Start everything that is down."""
    down = [c for c in find_all(control.manager) if not c.is_up]
    return await _each(down, partial(_start, control, wait))


async def stop_process_group(control: Control, group: str, wait: bool = True) -> Any:
    """Stop what is up of a group."""
    up = [c for c in find_group(control.manager, group) if c.is_up]
    return await _each(up, partial(_stop, control))


async def stop_all_processes(control: Control, wait: bool = True) -> Any:
    """Stop everything that is up."""
    up = [c for c in find_all(control.manager) if c.is_up]
    return await _each(up, partial(_stop, control))


async def signal_process_group(control: Control, group: str, signal: str | int) -> Any:
    """Send a signal to what runs of a group."""
    up = [c for c in find_group(control.manager, group) if c.record.pid]
    return await _each(up, partial(_signal, control, signal))


async def signal_all_processes(control: Control, signal: str | int) -> Any:
    """Send a signal to everything that runs."""
    up = [c for c in find_all(control.manager) if c.record.pid]
    return await _each(up, partial(_signal, control, signal))


async def send_process_stdin(control: Control, name: str, chars: str) -> bool:
    """Write to a process's standard input."""
    container = find_one(control.manager, name)
    if not container.record.pid:
        raise Faulted(Fault.NOT_RUNNING, name)
    if not container.spec.open_stdin:
        raise Faulted(Fault.NO_FILE, name)
    await container.stdin.send(chars.encode())
    return True


async def reload_config(control: Control) -> list[list[list[str]]]:
    """Read the unit files again; what differs from what is active."""
    try:
        difference = await control.units.reread()
    except ConfigError as error:
        raise Faulted(Fault.CANT_REREAD, error) from error
    return [[difference.added, difference.changed, difference.removed]]


async def add_process_group(control: Control, name: str) -> bool:
    """Make a group of the unit files active."""
    try:
        await control.units.add_group(name)
    except AlreadyExists as error:
        raise Faulted(Fault.ALREADY_ADDED, name) from error
    except NotFound as error:
        raise Faulted(Fault.BAD_NAME, name) from error
    except InvalidRequest as error:
        raise Faulted(Fault.FAILED, error) from error
    return True


async def remove_process_group(control: Control, name: str) -> bool:
    """Remove a group that is down."""
    try:
        await control.units.remove_group(name)
    except NotFound as error:
        raise Faulted(Fault.BAD_NAME, name) from error
    except Conflict as error:
        raise Faulted(Fault.STILL_RUNNING, name) from error
    return True


async def read_stdout(control: Control, name: str, offset: int, length: int) -> str:
    """Bytes of what a process wrote to its standard output."""
    return await logs.read(control, name, "stdout", offset, length)


async def read_stderr(control: Control, name: str, offset: int, length: int) -> str:
    """Bytes of what a process wrote to its standard error."""
    return await logs.read(control, name, "stderr", offset, length)


async def tail_stdout(control: Control, name: str, offset: int, length: int) -> list[Any]:
    """The end of a process's standard output."""
    return await logs.tail(control, name, "stdout", offset, length)


async def tail_stderr(control: Control, name: str, offset: int, length: int) -> list[Any]:
    """The end of a process's standard error."""
    return await logs.tail(control, name, "stderr", offset, length)


async def clear_logs(control: Control, name: str) -> bool:
    """Logs are kept and bounded by rotation: there is nothing to clear by hand."""
    find_one(control.manager, name)
    raise Faulted(Fault.FAILED, f"{name}: clearing logs is not implemented yet")


async def clear_all_logs(control: Control) -> Any:
    """The same for every process."""
    return await _each(find_all(control.manager), lambda c: clear_logs(control, c.name))  # type: ignore[arg-type,return-value]


async def list_methods(control: Control) -> list[str]:
    """The names of all methods."""
    return sorted(METHODS)


async def method_help(control: Control, name: str) -> str:
    """What a method does."""
    if name not in METHODS:
        raise Faulted(Fault.SIGNATURE_UNSUPPORTED)
    return inspect.getdoc(METHODS[name]) or ""


METHODS: dict[str, Method] = {
    "supervisor.getAPIVersion": get_api_version,
    "supervisor.getVersion": get_api_version,
    "supervisor.getSupervisorVersion": get_supervisor_version,
    "supervisor.getIdentification": get_identification,
    "supervisor.getState": get_state,
    "supervisor.getPID": get_pid,
    "supervisor.readLog": read_log,
    "supervisor.readMainLog": read_log,
    "supervisor.shutdown": shutdown,
    "supervisor.restart": restart,
    "supervisor.getProcessInfo": get_process_info,
    "supervisor.getAllProcessInfo": get_all_process_info,
    "supervisor.getAllConfigInfo": get_all_config_info,
    "supervisor.startProcess": start_process,
    "supervisor.startProcessGroup": start_process_group,
    "supervisor.startAllProcesses": start_all_processes,
    "supervisor.stopProcess": stop_process,
    "supervisor.stopProcessGroup": stop_process_group,
    "supervisor.stopAllProcesses": stop_all_processes,
    "supervisor.signalProcess": signal_process,
    "supervisor.signalProcessGroup": signal_process_group,
    "supervisor.signalAllProcesses": signal_all_processes,
    "supervisor.sendProcessStdin": send_process_stdin,
    "supervisor.reloadConfig": reload_config,
    "supervisor.addProcessGroup": add_process_group,
    "supervisor.removeProcessGroup": remove_process_group,
    "supervisor.readProcessLog": read_stdout,
    "supervisor.readProcessStdoutLog": read_stdout,
    "supervisor.readProcessStderrLog": read_stderr,
    "supervisor.tailProcessLog": tail_stdout,
    "supervisor.tailProcessStdoutLog": tail_stdout,
    "supervisor.tailProcessStderrLog": tail_stderr,
    "supervisor.clearProcessLog": clear_logs,
    "supervisor.clearProcessLogs": clear_logs,
    "supervisor.clearAllProcessLogs": clear_all_logs,
    "system.listMethods": list_methods,
    "system.methodHelp": method_help,
}
