"""What differs between two runs of one program: descriptors, and the host's name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.keeper.protocol import Plan, Words
from drivers.kernel.program import Program, Slot, Value


@dataclass(frozen=True, slots=True)
class ContainerSlots:
    """The descriptors of a container's first process, in the order that `Plan` gives."""

    stdio: tuple[Slot, ...]
    root: Slot
    joined: tuple[Slot, ...]
    terminals: Slot | None
    mounts: tuple[Slot, ...]
    cgroup: tuple[Slot, ...]
    hostname: Slot
    hostname_bytes: Slot

    @classmethod
    def of(cls, program: Program, plan: Plan) -> ContainerSlots:
        """New slots in a program."""

        def some(count: int) -> tuple[Slot, ...]:
            return tuple(program.slot() for _ in range(count))

        return cls(
            stdio=some(3),
            root=program.slot(),
            joined=some(len(plan.joined_namespaces)),
            terminals=program.slot() if plan.terminal else None,
            mounts=some(len(plan.mount_targets)),
            cgroup=some(group_count(plan)),
            hostname=program.slot(),
            hostname_bytes=program.slot(),
        )

    def values(self, fds: list[int], words: Words) -> Iterator[tuple[Slot, Value]]:
        """What they hold for a run; descriptors that are left over are not the process's."""
        terminals = () if self.terminals is None else (self.terminals,)
        ordered = (*self.stdio, self.root, *self.joined, *terminals, *self.mounts, *self.cgroup)
        yield from zip(ordered, fds, strict=False)
        name = os.fsencode(words.hostname)
        yield self.hostname, name
        yield self.hostname_bytes, len(name)


@dataclass(frozen=True, slots=True)
class JoinSlots:
    """The descriptors of a process that joins a container, in the order that `Plan` gives."""

    stdio: tuple[Slot, ...]
    container: Slot  # a pidfd of its first process
    cgroup: tuple[Slot, ...]

    @classmethod
    def of(cls, program: Program, plan: Plan) -> JoinSlots:
        """New slots in a program."""
        cgroup = tuple(program.slot() for _ in range(group_count(plan)))
        return cls(
            stdio=(program.slot(), program.slot(), program.slot()),
            container=program.slot(),
            cgroup=cgroup,
        )

    def values(self, fds: list[int], words: Words) -> Iterator[tuple[Slot, Value]]:
        """What they hold for a run."""
        yield from zip((*self.stdio, self.container, *self.cgroup), fds, strict=True)


def group_count(plan: Plan) -> int:
    """How many descriptors lead into the control group."""
    return 1 if plan.cgroup_version == 2 else len(plan.cgroup_hierarchies)
