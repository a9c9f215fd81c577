"""The program of a process of the host: a container runtime, whose children become the keeper's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from drivers.keeper import command, process
from drivers.keeper.plan import HostPlan, Words
from drivers.keeper.recipe import slots
from drivers.kernel import mount as m
from drivers.kernel.calls import Call
from drivers.kernel.process import CLONE
from drivers.kernel.program import Program, Slot, Value


class HostRecipe:
    """A process in the host's mount namespace, or in a copy of it with mounts of its own."""

    prelude: Program | None = None
    is_filtered = False

    def __init__(self, plan: HostPlan, bounding: frozenset[int]) -> None:
        self.program = program = Program()
        self._plan = plan
        self._stdio = slots(program, 3)
        self._namespace = program.slot()
        self._mounts = slots(program, len(plan.mount_targets))
        self.clone_flags = int(CLONE.VM)
        self._build()
        self.execution = command.execute(program, [])

    def _build(self) -> None:
        program, plan = self.program, self._plan
        process.begin(program)
        program.step("join mount namespace")
        program.call(Call.SETNS, self._namespace, CLONE.NEWNS)
        if plan.private_mounts:
            program.step("unshare mount namespace")
            program.call(Call.UNSHARE, CLONE.NEWNS)
            program.call(Call.MOUNT, 0, b"/", 0, m.MS.REC | m.MS.PRIVATE, 0)
        for fd, target in zip(self._mounts, plan.mount_targets, strict=True):
            program.step(f"attach {target}")
            place = os.fsencode(target)
            flags = m.MOVE_MOUNT_F_EMPTY_PATH
            program.call(Call.MOVE_MOUNT, fd, b"", m.AT_FDCWD, place, flags, detail=target)
        program.step(f"change to working directory {plan.cwd}")
        program.call(Call.CHDIR, os.fsencode(plan.cwd), detail=plan.cwd)
        process.place_at_standard(program, self._stdio)
        process.end(program)

    def values(self, fds: list[int], words: Words, spared: int) -> Iterator[tuple[Slot, Value]]:
        yield from zip((*self._stdio, self._namespace, *self._mounts), fds, strict=True)

    def prelude_values(self, fds: list[int], spared: int) -> Iterable[tuple[Slot, Value]]:
        return ()

    def kept(self, fds: list[int]) -> list[int]:
        return []

    def group_fd(self, fds: list[int]) -> int | None:
        return None

    def pid_namespace_fd(self, fds: list[int]) -> int | None:
        return None
