"""The execs of every container: created, started, and remembered for a while after their end.

Each runs in a task of the daemon's nursery: a client that hangs up lets its exec go on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from drivers.errors import HOST_ERRORS, CrecheError, NotFound, reported
from drivers.execution.base import ExecutionDriver, Started
from supervisor import log
from supervisor.container import Container
from supervisor.execs.instance import ExecInstance, ExecSpec, ExecState, check_can_exec
from supervisor.execs.run import run_exec
from supervisor.names import new_id
from supervisor.operations import run_detached
from supervisor.spec import ContainerSpec

KEPT_S = 300.0  # after its end: dockerd's clients ask for the exit code within this time
STARTED_WITHIN_S = 3600.0  # one that nobody starts in this time is forgotten

DriverOf = Callable[[ContainerSpec], ExecutionDriver]


class ExecInstances:
    """Finds an exec by its id."""

    def __init__(self, nursery: trio.Nursery, driver_of: DriverOf) -> None:
        self._nursery = nursery
        self._driver_of = driver_of
        self._by_id: dict[str, ExecInstance] = {}

    def create(self, container: Container, spec: ExecSpec) -> ExecInstance:
        """A new exec, not started. Raises NotRunning, Conflict in Docker's words."""
        check_can_exec(container)
        self._forget()
        instance = ExecInstance(new_id(), container, spec)
        self._by_id[instance.id] = instance
        instance.announce_command("exec_create")
        return instance

    def find(self, exec_id: str) -> ExecInstance:
        """The exec of an id. Raises NotFound, also once it has been forgotten."""
        self._forget()
        instance = self._by_id.get(exec_id)
        if instance is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return instance

    def ids_of(self, container: Container) -> list[str]:
        """Those of a container that run or may still be started."""
        self._forget()
        return [
            i.id
            for i in self._by_id.values()
            if i.container is container and i.state is not ExecState.EXITED
        ]

    def _forget(self) -> None:
        """Drop what nobody can ask for any more; looked at when somebody asks, so nothing waits."""
        now_s = trio.current_time()
        for instance in [i for i in self._by_id.values() if _is_over(i, now_s)]:
            del self._by_id[instance.id]

    def startable(self, exec_id: str) -> ExecInstance:
        """The exec of an id, if its container is in a state for it.

        Raises NotFound, and in Docker's words NotRunning and Conflict.
        """
        instance = self.find(exec_id)
        check_can_exec(instance.container)
        return instance

    def begin(self, exec_id: str) -> ExecInstance:
        """Claim an exec for starting it, as only one can; then attach if at all, then `execute`.

        Raises as `startable`, and Conflict if it has been started before.
        """
        instance = self.startable(exec_id)
        instance.begin()
        return instance

    async def execute(self, instance: ExecInstance, *, attached: bool) -> None:
        """Start what has begun; returns when its command is executed.

        Raises what the driver's `exec` raises.
        """
        if not attached:
            instance.nobody_attaches()
        await run_detached(self._nursery, partial(self._start, instance, attached))

    async def _start(self, instance: ExecInstance, attached: bool) -> None:
        self._nursery.start_soon(self._live, instance, attached)
        await instance.until(lambda: bool(instance.pid) or not instance.is_running)
        if instance.failure is not None:
            raise instance.failure

    async def _live(self, instance: ExecInstance, attached: bool) -> None:
        failures: list[CrecheError] = []
        try:
            await run_exec(
                instance,
                self._driver_of(instance.container.spec),
                stdin=attached and instance.spec.attach_stdin,
                task_status=_OnStart(instance),
            )
        except* (CrecheError, *HOST_ERRORS) as group:
            failures += reported(group, f"exec in container {instance.container.name}")
        finally:
            instance.ended(failures[0] if failures else None)
        for error in failures:
            log.warning("exec.failed", name=instance.container.name, id=instance.id, error=error)


class _OnStart(trio.TaskStatus[Started]):
    """What happens when the command has been executed."""

    def __init__(self, instance: ExecInstance) -> None:
        self._instance = instance

    def started(self, value: Started | None = None) -> None:
        assert value is not None
        self._instance.executed(value.pid)


def _is_over(instance: ExecInstance, now_s: float) -> bool:
    """Whether an exec is to be forgotten: with its container, its run, or some time after."""
    if instance.container.removed:
        return not instance.is_running
    age_s = now_s - instance.since_s
    match instance.state:
        case ExecState.CREATED:
            return not instance.container_goes_on or age_s > STARTED_WITHIN_S
        case ExecState.RUNNING:
            return False
        case ExecState.EXITED:
            return age_s > KEPT_S
