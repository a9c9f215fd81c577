"""The program of one more process in a running container."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise

from drivers.keeper import command, process, steps
from drivers.keeper.plan import JoiningPlan, Words
from drivers.keeper.recipe import slots
from drivers.kernel.calls import Call
from drivers.kernel.mount import AT_FDCWD
from drivers.kernel.process import CLONE
from drivers.kernel.program import Program, Slot, Value


class JoiningRecipe:
    """A process that is born in the container's pid namespace and joins the others there."""

    prelude: Program | None = None
    is_filtered = False

    def __init__(self, plan: JoiningPlan, bounding: frozenset[int]) -> None:
        self.program = program = Program()
        self._plan = plan
        self._fds = _Descriptors(program, plan)
        self.clone_flags = int(CLONE.VM)
        process.begin(program)
        if plan.terminal:
            process.take_terminal(program, self._fds.stdio[0])
        process.join_control_groups(program, plan, self._fds.groups)
        _join(program, plan, self._fds)
        process.place_streams(program, plan, self._fds.stdio)
        process.set_limits(program, plan.rlimits)
        process.drop_privileges(program, plan, bounding)
        process.end(program)
        process.set_late_filter(program, plan)
        self.execution = command.execute(program, plan.search)

    def values(self, fds: list[int], words: Words, spared: int) -> Iterator[tuple[Slot, Value]]:
        yield from zip(self._fds.in_order(), fds, strict=True)

    def prelude_values(self, fds: list[int], spared: int) -> Iterable[tuple[Slot, Value]]:
        return ()

    def kept(self, fds: list[int]) -> list[int]:
        return []

    def group_fd(self, fds: list[int]) -> int | None:
        return fds[-1] if self._plan.cgroup_version == 2 else None

    def pid_namespace_fd(self, fds: list[int]) -> int | None:
        return fds[3]


class WatchedJoiningRecipe(JoiningRecipe):
    """The same where the container may look into every process that it sees (CAP_SYS_PTRACE).

    The thread that makes the process joins and drops privileges first, for itself alone: what the
    container can see then has no more than the container, and nothing of the keeper's memory. It
    does not enter the control groups, where it could be stopped, or be killed with the keeper.
    """

    def __init__(self, plan: JoiningPlan, bounding: frozenset[int]) -> None:
        self.prelude = prelude = Program()
        self.program = program = Program()
        self._plan = plan
        self._fds = _Descriptors(prelude, plan)
        # a filter that is there already forbids clone3, and with it to be born in a group
        self.is_filtered = bool(plan.filter) and not plan.no_new_privs
        self._enters = plan.cgroup_version == 1 or self.is_filtered
        self._groups = slots(program, plan.group_count if self._enters else 0)
        self._entrance = prelude.slot()  # v2: the number that cgroup.procs will have
        gaps = [slots(prelude, 2) for _ in range(len(self._groups) + 2)]
        self._gaps = tuple((first, last) for first, last in gaps)
        self.clone_flags = 0
        self._build_prelude(prelude, bounding)
        prelude.finish()
        process.begin(program)
        process.enter_control_groups(program, self._groups)
        if plan.terminal:
            process.take_terminal(program, 0)
        process.set_limits(program, plan.rlimits)
        process.end(program)
        process.set_late_filter(program, plan)
        self.execution = command.execute(program, plan.search)

    def _build_prelude(self, program: Program, bounding: frozenset[int]) -> None:
        plan = self._plan
        program.step("leave the keeper")
        program.call(Call.UNSHARE, CLONE.FS | CLONE.FILES)
        if self._enters and plan.cgroup_version == 2:
            flags = os.O_WRONLY | os.O_CLOEXEC
            procs = program.call(Call.OPENAT, self._fds.groups[0], b"cgroup.procs", flags)
            program.call(Call.DUP3, procs, self._entrance, os.O_CLOEXEC)
        _join(program, plan, self._fds)
        process.place_streams(program, plan, self._fds.stdio, closing=self._gaps)
        process.drop_privileges(program, plan, bounding)

    def group_fd(self, fds: list[int]) -> int | None:
        return None if self._enters else super().group_fd(fds)

    def values(self, fds: list[int], words: Words, spared: int) -> Iterator[tuple[Slot, Value]]:
        yield from zip(self._groups, self._entrances(fds, spared), strict=True)

    def _entrances(self, fds: list[int], spared: int) -> list[int]:
        """The descriptors of the thread by which the process enters its groups."""
        if not self._enters:
            return []
        return [_unused(fds, spared)] if self._plan.cgroup_version == 2 else fds[4:]

    def prelude_values(self, fds: list[int], spared: int) -> Iterator[tuple[Slot, Value]]:
        yield from zip(self._fds.in_order(), fds, strict=True)
        yield self._entrance, _unused(fds, spared)
        # what is closed is all between the descriptors that are still needed
        kept = [2, *sorted((spared, *self._entrances(fds, spared))), process.CLOSE_ALL + 1]
        for gap, (first, last) in zip(self._gaps, pairwise(kept), strict=True):
            yield from zip(gap, (first + 1, last - 1), strict=True)


def _unused(fds: list[int], spared: int) -> int:
    """A number that none of the descriptors has."""
    used = {0, 1, 2, spared, *fds}
    return next(number for number in range(len(used) + 1) if number not in used)


class _Descriptors:
    """The slots of what the plan's descriptors are."""

    def __init__(self, program: Program, plan: JoiningPlan) -> None:
        self.stdio = slots(program, 3)
        self.container = program.slot()
        self.groups = slots(program, plan.group_count)

    def in_order(self) -> tuple[Slot, ...]:
        return (*self.stdio, self.container, *self.groups)


def _join(program: Program, plan: JoiningPlan, fds: _Descriptors) -> None:
    """Enter the namespaces and the working directory, to be confined when the command begins."""
    process.set_profile_by_keepers(program, plan)
    program.step("join namespaces")
    program.call(Call.SETNS, fds.container, plan.namespaces)
    root = program.call(Call.OPENAT, AT_FDCWD, b"/", steps.DIRECTORY | os.O_CLOEXEC)
    process.change_directory(program, root, plan.cwd, make=False)
