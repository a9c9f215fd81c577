"""One run of a container: everything it needs acquired in order, and released when it ends."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from drivers.errors import InvalidRequest
from drivers.execution.base import ExecutionDriver, ExitStatus, Pipes, Started
from drivers.log.base import LogContext, LogDriver
from drivers.network.base import NetworkDriver
from drivers.storage.base import StorageDriver
from supervisor.command import build_command, open_mounts, open_rootfs
from supervisor.hold import hold_in
from supervisor.logs.container_logs import ContainerLogs
from supervisor.spec import ContainerSpec
from supervisor.stdin import Stdin

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
    task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
) -> ExitStatus:
    """Run the command of a resolved spec to its end, its output flushed to the sinks.

    The process is the innermost resource, so it is gone before its network and root are.
    """
    execution, network = drivers.execution_of(spec), drivers.network_of(spec)
    async with AsyncExitStack() as held:
        root_fd = await hold_in(held, f"root of {spec.name}", *_root_of(spec, drivers.storage))
        endpoint = await hold_in(
            held,
            f"network of {spec.name}",
            partial(network.attach, spec.id),
            lambda _: network.detach(spec.id),
        )
        mounts = open_mounts(spec, directory, held)
        command = build_command(spec, root_fd=root_fd, mounts=mounts, endpoint=endpoint)
        async with trio.open_nursery() as nursery:
            with _open_pipes(spec, logs, stdin, nursery) as child_ends:
                child = child_ends.pipes
                status = await execution.run(
                    command, child, task_status=_AndClose(task_status, child_ends)
                )
            await logs.drained()
            nursery.cancel_scope.cancel()  # what feeds the standard input has nobody to feed
    return status


def _root_of(
    spec: ContainerSpec, storage: StorageDriver
) -> tuple[Callable[[], Awaitable[int]], Callable[[int], Awaitable[None]]]:
    """How to get the detached mount of the root file system, and how to give it back."""

    async def get() -> int:
        return open_rootfs(spec.rootfs) if spec.rootfs else await storage.get(spec.id)

    async def put(root_fd: int) -> None:
        os.close(root_fd)
        if not spec.rootfs:
            await storage.put(spec.id)

    return get, put


class _ChildEnds:
    """The ends of the three streams that the container gets; ours is to close them."""

    def __init__(self, pipes: Pipes) -> None:
        self.pipes = pipes
        self._open = [pipes.stdin, pipes.stdout, pipes.stderr]

    def __enter__(self) -> _ChildEnds:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.pop())


class _AndClose(trio.TaskStatus[Started]):
    """Closes our copies of the child's ends as soon as the child has them.

    Otherwise the copiers would never see the end of its output.
    """

    def __init__(self, task_status: trio.TaskStatus[Started], ends: _ChildEnds) -> None:
        self._task_status = task_status
        self._ends = ends

    def started(self, value: Started | None = None) -> None:
        assert value is not None
        self._ends.__exit__()
        self._task_status.started(value)


def _open_pipes(
    spec: ContainerSpec, logs: ContainerLogs, stdin: Stdin, nursery: trio.Nursery
) -> _ChildEnds:
    """Make the three streams and start the tasks at our ends of them."""
    stdout, child_stdout = os.pipe2(os.O_CLOEXEC)
    stderr, child_stderr = os.pipe2(os.O_CLOEXEC)
    if spec.open_stdin:
        child_stdin, feed = os.pipe2(os.O_CLOEXEC)
        nursery.start_soon(stdin.pump, feed)
    else:
        child_stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    logs.start(nursery, stdout, stderr)
    return _ChildEnds(
        Pipes(stdin=child_stdin, stdout=child_stdout, stderr=child_stderr, kept=(stdout, stderr))
    )
