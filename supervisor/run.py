"""One run of a container: everything it needs acquired in order, and released when it ends."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from drivers.errors import InvalidRequest
from drivers.execution.base import Command, ExecutionDriver, ExitStatus, Started
from drivers.execution.id_map import open_user_namespace
from drivers.kernel.descriptors import check_room
from drivers.log.base import LogContext, LogDriver
from drivers.network.base import NetworkDriver
from drivers.storage.base import StorageDriver
from supervisor.command import build_command, open_mounts, open_rootfs
from supervisor.devices import devices_of
from supervisor.hold import hold_in, release
from supervisor.joining import FindNeighbour, join
from supervisor.logs.container_logs import ContainerLogs
from supervisor.output import Output
from supervisor.pipes import ChildEnds, HandOver, no_pipes, open_pipes
from supervisor.spec import ContainerSpec
from supervisor.stdin import Stdin
from supervisor.terminal import Terminal
from supervisor.userns import changes_ids, to_driver

OpenLogDriver = Callable[[str, LogContext, Mapping[str, str]], Awaitable[LogDriver]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """The drivers at hand; the first of each mapping is the default."""

    execution: Mapping[str, ExecutionDriver]
    storage: StorageDriver
    network: Mapping[str, NetworkDriver]
    open_log: OpenLogDriver
    check_log: Callable[[str, Mapping[str, str]], None]  # a driver's name and its options
    runtime_paths: Mapping[str, str] = field(default_factory=dict)  # of execution drivers

    def execution_of(self, spec: ContainerSpec) -> ExecutionDriver:
        """The execution driver that `spec` names, or the default."""
        if not spec.execution:
            return next(iter(self.execution.values()))
        if spec.execution not in self.execution:
            raise InvalidRequest(f"unknown or invalid runtime name: {spec.execution}")
        return self.execution[spec.execution]

    def network_of(self, spec: ContainerSpec) -> NetworkDriver:
        """The network driver that `spec` names."""
        if spec.network not in self.network:
            raise InvalidRequest(f"network {spec.network} not found")
        return self.network[spec.network]


async def run_once(
    spec: ContainerSpec,
    drivers: Drivers,
    *,
    directory: Path,
    logs: ContainerLogs,
    stdin: Stdin,
    terminal: Terminal,
    neighbour: FindNeighbour,
    task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
) -> ExitStatus:
    """Run the command of a resolved spec to its end, its output flushed to the sinks.

    The process is the innermost resource, so it is gone before its network and root are.
    `neighbour` finds the containers whose namespaces it joins.
    """
    execution, network = drivers.execution_of(spec), drivers.network_of(spec)
    async with AsyncExitStack() as held:
        root = _Root(spec, drivers.storage)
        held.push_async_callback(release, f"root of {spec.name}", root.put)
        # kept no longer than the start takes: the container has them
        until_start = held.enter_context(ExitStack())
        endpoint = await hold_in(
            held,
            f"network of {spec.name}",
            partial(network.attach, spec.id),
            lambda _: network.detach(spec.id),
        )

        def describe() -> Command:
            """In a thread of the driver's: files of the host may be on a disk that is slow."""
            logs.open()
            userns_fd = _user_namespace(spec, until_start)
            devices, rules = devices_of(spec.isolation)
            command = build_command(
                spec,
                root_fd=root.get(userns_fd, until_start),
                joined=join(spec.isolation, neighbour, until_start, spec.user_map),
                mounts=open_mounts(spec, directory, until_start, userns_fd),
                endpoint=endpoint,
                window=terminal.size,
                devices=devices,
                device_rules=rules,
            )
            check_room()  # now, when it has more open than at any other time
            return command

        held.callback(terminal.close)
        process = partial(execution.run, spec.id, describe)
        return await _with_streams(spec, process, logs, stdin, terminal, until_start, task_status)


async def _with_streams(
    spec: ContainerSpec,
    process: Callable[..., Awaitable[ExitStatus]],
    logs: ContainerLogs,
    stdin: Stdin,
    terminal: Terminal,
    until_start: ExitStack,
    task_status: trio.TaskStatus[Started],
) -> ExitStatus:
    """Run the process to its end, its streams connected and flushed; `until_start` ends with
    its start.
    """
    async with trio.open_nursery() as nursery:
        outputs: list[Output] = []

        def take_terminal(fd: int) -> None:
            outputs.append(terminal.open(fd))
            logs.start(nursery, {"stdout": outputs[0]})
            if spec.open_stdin:
                nursery.start_soon(stdin.pump, terminal.input_fd())

        child = until_start.enter_context(_open_streams(spec, logs, stdin, nursery))
        handing_over = HandOver(task_status, until_start.close, take_terminal)
        status = await process(child.pipes, task_status=handing_over)
        for output in outputs:
            output.finish()  # a terminal is open at both ends, and tells of no end by itself
        await logs.drained()
        nursery.cancel_scope.cancel()  # what feeds the standard input has nobody to feed
    return status


class _Root:
    """The root file system of one run."""

    def __init__(self, spec: ContainerSpec, storage: StorageDriver) -> None:
        self._spec = spec
        self._storage = storage
        self._is_got = False

    def get(self, userns_fd: int | None, held: ExitStack) -> int:
        """Its detached mount, which `held` closes; blocks."""
        spec = self._spec
        if spec.rootfs:
            fd = open_rootfs(spec.rootfs, userns_fd)
        else:
            fd = self._storage.get(spec.id, userns_fd)
            self._is_got = True
        held.callback(os.close, fd)
        return fd

    async def put(self) -> None:
        """Tell the storage driver, if it gave it, that it is closed."""
        if self._is_got:
            self._storage.put(self._spec.id)


def _user_namespace(spec: ContainerSpec, held: ExitStack) -> int | None:
    """What shows files through the container's ids, if those are others than on the host.

    Blocks; `held` closes it.
    """
    id_map = to_driver(spec.user_map)
    if spec.user_map is None or id_map is None or not changes_ids(spec.user_map):
        return None
    fd = open_user_namespace(id_map)
    held.callback(os.close, fd)
    return fd


def _open_streams(
    spec: ContainerSpec,
    logs: ContainerLogs,
    stdin: Stdin,
    nursery: trio.Nursery,
) -> ChildEnds:
    """Make the streams and start the tasks at our ends of them; a terminal comes with the start."""
    if spec.tty:
        return no_pipes()
    opened = open_pipes(stdin=spec.open_stdin, keep=True)
    if opened.feed_fd is not None:
        nursery.start_soon(stdin.pump, opened.feed_fd)
    logs.start(nursery, {"stdout": opened.stdout, "stderr": opened.stderr})
    return opened.child
