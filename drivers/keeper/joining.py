"""The program of one more process in a running container."""

from __future__ import annotations

import os
from collections.abc import Iterator

from drivers.keeper import command, process, steps
from drivers.keeper.plan import JoiningPlan, Words
from drivers.keeper.recipe import slots
from drivers.kernel.calls import Call
from drivers.kernel.mount import AT_FDCWD
from drivers.kernel.process import CLONE
from drivers.kernel.program import Program, Slot, Value


class JoiningRecipe:
    """A process that is born in the container's pid namespace and joins the others."""

    def __init__(self, plan: JoiningPlan, last_capability: int) -> None:
        self.program = program = Program()
        self._plan = plan
        self._stdio = slots(program, 3)
        self._container = program.slot()
        self._groups = slots(program, plan.group_count)
        self.clone_flags = int(CLONE.VM) if plan.shares_memory else 0
        self._build(last_capability)
        self.execution = command.execute(program, plan.search)

    def _build(self, last_capability: int) -> None:
        program, plan = self.program, self._plan
        process.begin(program)
        process.join_control_groups(program, plan, self._groups)
        program.step("join namespaces")
        program.call(Call.SETNS, self._container, plan.namespaces)
        root = program.call(Call.OPENAT, AT_FDCWD, b"/", steps.DIRECTORY | os.O_CLOEXEC)
        if plan.terminal:
            process.take_terminal(program, self._stdio[0])
        process.change_directory(program, root, plan.cwd, make=False)
        process.place_streams(program, plan, self._stdio)
        process.set_limits(program, plan.rlimits)
        process.drop_privileges(program, plan, last_capability)

    def values(self, fds: list[int], words: Words) -> Iterator[tuple[Slot, Value]]:
        yield from zip((*self._stdio, self._container, *self._groups), fds, strict=True)

    def kept(self, fds: list[int]) -> list[int]:
        return []

    def group_fd(self, fds: list[int]) -> int | None:
        return fds[-1] if self._plan.cgroup_version == 2 else None

    def pid_namespace_fd(self, fds: list[int]) -> int | None:
        return fds[3]
