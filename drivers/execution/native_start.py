"""What a container of the native driver needs before it can be made."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from drivers.errors import InvalidRequest
from drivers.execution.base import Command, Describe, IdMap, Pipes
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.checks import check_can_end
from drivers.execution.id_map import give_streams, root_of, to_host
from drivers.execution.mapped_dev import lend_devices, make_mapped_dev
from drivers.execution.plan import joined_namespaces, make_plan
from drivers.execution.terminal import TTY_GID, Terminal, new_terminal
from drivers.keeper.plan import ContainerPlan, Words
from drivers.keeper.protocol import MAX_FDS
from drivers.kernel.user_namespace import in_user_namespace

Ask = Callable[[ContainerPlan, Words, list[int]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the keeper is to do with which descriptors, and the group that is there."""

    command: Command
    group: ControlGroup
    terminal: Terminal | None
    plan: ContainerPlan
    words: Words
    fds: list[int]

    @property
    def joined_pid(self) -> int | None:
        """The descriptor of the pid namespace that it joins: who is there must not see it made."""
        namespace = self.command.namespaces.pid
        return namespace if isinstance(namespace, int) else None


def prepare(
    describe: Describe,
    pipes: Pipes,
    hierarchy: Hierarchy,
    cgroup_parent: str,
    opened: ExitStack,
    ask: Ask,
) -> Start:
    """All that may have to be waited for; blocks. `opened` closes the descriptors.

    In one go: what changes thread waits for it longer than most of this takes. So the keeper is
    asked from here too, unless a pid namespace is joined. A group that is there after a failure
    is the caller's to remove.
    """
    command = describe()
    check_can_end(command, has_groups=bool(hierarchy.mounts))
    group = ControlGroup(
        hierarchy, cgroup_parent, command.key, command.limits, command.device_rules
    )
    group.create()
    start = _prepare(command, pipes, group, opened)
    if start.joined_pid is None:
        ask(start.plan, start.words, start.fds)
    return start


def _prepare(command: Command, pipes: Pipes, group: ControlGroup, opened: ExitStack) -> Start:
    if in_user_namespace():
        command = lend_devices(command, opened)
    plan, words = make_plan(command, pipes, group)
    fds = [pipes.stdin, pipes.stdout, pipes.stderr, command.root_fd]
    kept, terminal = pipes.kept, None
    if command.terminal is not None:
        made = new_terminal(command.terminal, gid=_terminal_gid(command.id_map))
        terminal = opened.enter_context(made)
        fds[:3], kept = [terminal.slave] * 3, (terminal.master,)
    if command.id_map is not None:
        give_streams(command.id_map, plan, fds[:3])
    fds += [fd for _, fd in joined_namespaces(command.namespaces)]
    fds += [] if terminal is None else [terminal.devpts]
    fds += _make_devs(command, opened)
    fds += [mount.fd for mount in command.mounts]
    joined = group.open_to_join(plan.cgroup_hierarchies)
    for fd in joined:
        opened.callback(os.close, fd)
    fds += [*joined, *kept]
    if len(fds) > MAX_FDS:
        raise InvalidRequest(f"too many mounts: {len(command.mounts)}")
    return Start(command=command, group=group, terminal=terminal, plan=plan, words=words, fds=fds)


def _terminal_gid(id_map: IdMap | None) -> int:
    if id_map is None:
        return TTY_GID
    gid = to_host(id_map.gids, TTY_GID)
    return root_of(id_map)[1] if gid is None else gid


def _make_devs(command: Command, opened: ExitStack) -> list[int]:
    """The /dev that a container in a user namespace is given."""
    if command.id_map is None:
        return []
    fd = make_mapped_dev(command.id_map, command.devices)
    opened.callback(os.close, fd)
    return [fd]
