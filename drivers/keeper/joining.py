"""The program of one more process in a running container."""

from __future__ import annotations

import os

from drivers.keeper import command, process, steps
from drivers.keeper.command import Execution
from drivers.keeper.protocol import Plan
from drivers.keeper.slots import JoinSlots
from drivers.kernel.calls import Call
from drivers.kernel.mount import AT_FDCWD
from drivers.kernel.program import Program


def joining_program(
    program: Program, plan: Plan, slots: JoinSlots, last_capability: int
) -> Execution:
    """What becomes of a new process that was born in the container's pid namespace."""
    process.begin(program)
    process.join_control_groups(program, plan, slots.cgroup)
    program.step("join namespaces")
    program.call(Call.SETNS, slots.container, plan.joins_all)
    root = program.call(Call.OPENAT, AT_FDCWD, b"/", steps.DIRECTORY | os.O_CLOEXEC)
    if plan.terminal:
        process.take_terminal(program, slots.stdio[0])
    process.change_directory(program, root, plan.cwd, make=False)
    process.place_streams(program, plan, slots.stdio)
    process.set_limits(program, plan.rlimits)
    process.drop_privileges(program, plan, last_capability)
    return command.execute(program, plan.search)
