"""The program of a container's first process: every step from clone3 to the command, in order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from drivers.keeper import command, dev, own_ids, process, rootfs
from drivers.keeper.plan import ContainerPlan, Words
from drivers.keeper.recipe import slots
from drivers.kernel.process import CLONE
from drivers.kernel.program import Program, Slot, Value


class ContainerRecipe:
    """A new process in new namespaces."""

    prelude: Program | None = None
    is_filtered = False

    def __init__(self, plan: ContainerPlan, bounding: frozenset[int]) -> None:
        self.program = program = Program()
        self._plan = plan
        self._handshake = slots(program, 2 * plan.makes_ids)
        self._stdio = slots(program, 3)
        self._root = program.slot()
        self._joined = slots(program, len(plan.joined_namespaces))
        self._terminals = slots(program, int(plan.terminal))
        self._devs = slots(program, int(plan.has_ids))
        self._mounts = slots(program, len(plan.mount_targets))
        self._groups = slots(program, plan.group_count)
        self._announcement = program.slot()
        self._hostname, self._hostname_bytes = slots(program, 2)
        # what is new is to belong to the user namespace: it is made once that has been joined
        self.clone_flags = int(CLONE.VM | (0 if plan.joins_ids else plan.new_namespaces))
        self._build(bounding)
        self.execution = command.execute(program, plan.search)

    def _build(self, bounding: frozenset[int]) -> None:
        program, plan = self.program, self._plan
        process.begin(program)
        if plan.makes_ids:
            own_ids.await_maps(program, self._announcement, *self._handshake)
        process.join_control_groups(program, plan, self._groups)
        if plan.joins_ids:
            own_ids.join(program, self._joined[0], plan.new_namespaces)
        if plan.has_ids:
            own_ids.become_root(program)
        process.enter_namespaces(program, plan, self._joined)
        process.set_names(program, plan, self._hostname, self._hostname_bytes)
        new = rootfs.new_file_systems(program, plan)
        root = rootfs.enter_root(program, self._root)
        guard = rootfs.guard_proc(program, root)
        new_dev = self._devs[0] if self._devs else dev.make_dev(program, plan)
        dev.make_places(program, new_dev, plan)
        rootfs.mount_dev(program, root, new_dev)
        dev.mount_below(program, new_dev, plan, self._terminals)
        rootfs.mount_sys(program, root, plan, new)
        rootfs.attach_mounts(program, root, plan, self._mounts)
        proc = rootfs.mount_proc(program, root, new_dev, guard, new)
        process.write_to_proc(program, plan, proc)
        rootfs.cover_paths(program, root, plan, new_dev)
        dev.make_devices(program, root, plan.devices)
        if plan.terminal:
            dev.bind_console(program, new_dev, self._stdio[0])
            process.take_terminal(program, self._stdio[0])
        process.change_directory(program, root, plan.cwd, make=True)
        if plan.read_only:
            rootfs.protect_root(program, root)
        self._end(bounding)

    def _end(self, bounding: frozenset[int]) -> None:
        program, plan = self.program, self._plan
        process.place_streams(program, plan, self._stdio)
        process.set_limits(program, plan.rlimits)
        process.drop_privileges(program, plan, bounding)
        process.end(program)
        process.set_late_filter(program, plan)

    def _in_order(self) -> tuple[Slot, ...]:
        first = (*self._handshake, *self._stdio, self._root, *self._joined, *self._terminals)
        return (*first, *self._devs, *self._mounts, *self._groups)

    def values(self, fds: list[int], words: Words, spared: int) -> Iterator[tuple[Slot, Value]]:
        yield from zip(self._in_order(), fds, strict=False)  # those left over are kept
        name = os.fsencode(words.hostname)
        yield self._hostname, name
        yield self._hostname_bytes, len(name)
        yield self._announcement, spared

    def prelude_values(self, fds: list[int], spared: int) -> Iterable[tuple[Slot, Value]]:
        return ()

    def kept(self, fds: list[int]) -> list[int]:
        return fds[len(self._in_order()) :]

    def group_fd(self, fds: list[int]) -> int | None:
        return fds[len(self._in_order()) - 1] if self._plan.cgroup_version == 2 else None

    def pid_namespace_fd(self, fds: list[int]) -> int | None:
        kinds = self._plan.joined_namespaces
        return fds[4 + kinds.index(CLONE.NEWPID)] if CLONE.NEWPID in kinds else None
