"""What it takes to make a process: a program, and how its descriptors are to be understood."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from drivers.keeper.command import Execution
from drivers.keeper.plan import Words
from drivers.kernel.program import Program, Slot, Value


class Recipe(Protocol):
    """The way from a plan to a process; one file for each kind of plan."""

    prelude: Program | None  # for the thread itself, which cannot do anything else afterwards
    program: Program
    execution: Execution
    clone_flags: int
    is_filtered: bool  # after the prelude: the thread may not use clone3

    def values(self, fds: list[int], words: Words, spared: int) -> Iterable[tuple[Slot, Value]]:
        """What the program's slots hold for a run, but for the command's.

        `spared` is a descriptor that the thread goes on using.
        """
        ...

    def prelude_values(self, fds: list[int], spared: int) -> Iterable[tuple[Slot, Value]]:
        """What the prelude's slots hold."""
        ...

    def kept(self, fds: list[int]) -> list[int]:
        """The descriptors that are the keeper's to keep while the process runs."""
        ...

    def group_fd(self, fds: list[int]) -> int | None:
        """v2: the directory of the control group in which the process is born."""
        ...

    def pid_namespace_fd(self, fds: list[int]) -> int | None:
        """What leads to the pid namespace in which the process is born, if it is not a new one."""
        ...


def slots(program: Program, count: int) -> tuple[Slot, ...]:
    """New slots, for descriptors."""
    return tuple(program.slot() for _ in range(count))
