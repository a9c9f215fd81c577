"""The program of a container's first process: every step from clone3 to the command, in order."""

from __future__ import annotations

from drivers.keeper import command, dev, process, rootfs
from drivers.keeper.command import Execution
from drivers.keeper.protocol import Plan
from drivers.keeper.slots import ContainerSlots
from drivers.kernel.program import Program


def container_program(
    program: Program, plan: Plan, slots: ContainerSlots, last_capability: int
) -> Execution:
    """What becomes of a new process in new namespaces, by the plan."""
    process.begin(program)
    process.join_control_groups(program, plan, slots.cgroup)
    process.enter_namespaces(program, plan, slots.joined)
    process.set_names(program, plan, slots.hostname, slots.hostname_bytes)
    root = rootfs.enter_root(program, slots.root)
    guard = rootfs.guard_proc(program, root)
    new_dev = dev.make_dev(program)
    rootfs.mount_dev(program, root, new_dev)
    dev.mount_below(program, new_dev, plan, slots.terminals)
    rootfs.mount_sys(program, root, plan)
    rootfs.attach_mounts(program, root, plan, slots.mounts)
    proc = rootfs.mount_proc(program, root, new_dev, guard)
    process.write_to_proc(program, plan, proc)
    rootfs.cover_paths(program, root, plan, new_dev)
    dev.make_devices(program, root, plan.devices)
    if plan.terminal:
        dev.bind_console(program, new_dev, slots.stdio[0])
        process.take_terminal(program, slots.stdio[0])
    process.change_directory(program, root, plan.cwd, make=True)
    if plan.read_only:
        rootfs.protect_root(program, root)
    process.place_streams(program, plan, slots.stdio)
    process.set_limits(program, plan.rlimits)
    process.drop_privileges(program, plan, last_capability)
    return command.execute(program, plan.search)
