"""Programs that were built once and are kept for the next process of the same plan."""

from __future__ import annotations

import signal
from collections import OrderedDict

from drivers.keeper import protocol
from drivers.keeper.container import container_program
from drivers.keeper.joining import joining_program
from drivers.keeper.protocol import Failure, Words
from drivers.keeper.slots import ContainerSlots, JoinSlots, group_count
from drivers.kernel import process as p
from drivers.kernel.program import Program

KEPT = 32  # programs; each has some 50 KB

_ALWAYS = p.CLONE.VFORK | p.CLONE.PIDFD | p.CLONE.PARENT_SETTID | p.CLONE.CLEAR_SIGHAND


class Prepared:
    """One program for the processes of one plan, one at a time."""

    def __init__(self, text: str, last_capability: int) -> None:
        self.text = text
        self.plan = plan = protocol.plan_from_json(text)
        self.program = program = Program()
        self._slots: ContainerSlots | JoinSlots
        if plan.joins_all:
            self._slots = join = JoinSlots.of(program, plan)
            self._execution = joining_program(program, plan, join, last_capability)
        else:
            self._slots = first = ContainerSlots.of(program, plan)
            self._execution = container_program(program, plan, first, last_capability)
        program.finish()
        self._flags = int(_ALWAYS | plan.new_namespaces)
        if plan.shares_memory:
            self._flags |= p.CLONE.VM

    def kept(self, fds: list[int]) -> list[int]:
        """The descriptors that are the keeper's to keep while the process runs."""
        return [] if self.plan.joins_all else fds[self._own_count() :]

    def _own_count(self) -> int:
        plan = self.plan
        some = len(plan.joined_namespaces) + int(plan.terminal) + len(plan.mount_targets)
        return 4 + some + group_count(plan)

    def group_fd(self, fds: list[int]) -> int | None:
        """v2: the directory of the control group in which the process is born."""
        if self.plan.cgroup_version != 2:
            return None
        return fds[4] if self.plan.joins_all else fds[self._own_count() - 1]

    def pid_namespace_fd(self, fds: list[int]) -> int | None:
        """What leads to the pid namespace in which the process is born, if not in a new one."""
        if self.plan.joins_all:
            return fds[3]
        if p.CLONE.NEWPID in self.plan.joined_namespaces:
            return fds[4 + self.plan.joined_namespaces.index(p.CLONE.NEWPID)]
        return None

    def run(self, fds: list[int], words: Words) -> Failure | None:
        """Make a process; None if it executed its command. Raises OSError if there is none."""
        program = self.program
        program.prepare((*self._slots.values(fds, words), *self._execution.values(words)))
        program.run(
            p.clone_args(self._flags, exit_signal=signal.SIGCHLD, cgroup_fd=self.group_fd(fds))
        )
        failed = program.failed()
        if failed is None:
            return None
        if failed.step == "exec":
            return self._execution.failure(program, words.argv[0])
        return Failure("step", failed.step, failed.errno, failed.detail)


class PreparedPrograms:
    """The programs that nobody uses now. For several threads: each call is atomic."""

    def __init__(self, last_capability: int) -> None:
        self._last_capability = last_capability
        self._idle: OrderedDict[str, Prepared] = OrderedDict()

    def take(self, text: str) -> Prepared:
        """A program for a plan, for the caller alone."""
        return self._idle.pop(text, None) or Prepared(text, self._last_capability)

    def give_back(self, prepared: Prepared) -> None:
        """Keep it for the next."""
        self._idle[prepared.text] = prepared
        if len(self._idle) > KEPT:
            self._idle.popitem(last=False)
