"""The container's file system: its root, /proc, /sys, its mounts, and what is hidden.

For a process in a mount namespace of its own. Names in the image are hostile: each is resolved
below the root by openat2, and used by the descriptor that was found.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from drivers.keeper import steps
from drivers.keeper.own_mounts import SCAFFOLD
from drivers.keeper.plan import ContainerPlan
from drivers.kernel import mount as m
from drivers.kernel.calls import Call
from drivers.kernel.program import Argument, Label, Program, Result

AT_FDCWD = m.AT_FDCWD


@dataclass(frozen=True, slots=True)
class NewFileSystems:
    """Detached mounts, made early."""

    proc: Result
    sys: Result


def new_file_systems(program: Program, plan: ContainerPlan) -> NewFileSystems:
    """/proc and /sys, while the keeper's are seen: in a user namespace it takes that to mount them.

    A new one shows a pid or network namespace, and is for who owns that; others get a copy of ours.
    Source: fsmount(2), mount_too_revealing in the kernel's fs/namespace.c.
    """
    program.step("mount proc")
    proc = _new_or_lent(program, "proc", "/proc", plan.lent_proc, steps.NO_FILES)
    program.step("mount sysfs")
    sys = _new_or_lent(program, "sysfs", "/sys", plan.lent_sys, _sys_attributes(plan))
    return NewFileSystems(proc, sys)


def _new_or_lent(
    program: Program, fstype: str, place: str, is_lent: bool, attributes: m.ATTR
) -> Result:
    if not is_lent:
        return steps.file_system(program, fstype, attributes)
    lent = steps.clone_mount(program, AT_FDCWD, place, recursive=True)
    steps.set_attributes(program, lent, set_=attributes, propagation=m.MS.PRIVATE, recursive=True)
    return lent


def _sys_attributes(plan: ContainerPlan) -> m.ATTR:
    return steps.NO_FILES if plan.writable_sys else steps.NO_FILES_READ_ONLY


def enter_root(program: Program, root_fd: Argument) -> Result:
    """Make the detached mount the root, let go of the keeper's; the root's descriptor."""
    program.step("attach root")
    # else what the container mounts would appear wherever the root's source is shared
    steps.set_attributes(program, root_fd, propagation=m.MS.PRIVATE, recursive=True)
    steps.attach(program, root_fd, AT_FDCWD, SCAFFOLD)
    program.step("pivot_root")
    program.call(Call.CHDIR, SCAFFOLD.encode())
    # stacked on one another: the old root is on top and is taken off first
    program.call(Call.PIVOT_ROOT, b".", b".")
    program.call(Call.UMOUNT2, b".", m.MNT.DETACH)
    program.call(Call.CHDIR, b"/")
    return program.call(Call.OPENAT, AT_FDCWD, b"/", steps.DIRECTORY | os.O_CLOEXEC)


def guard_proc(program: Program, root: Result) -> Result:
    """Cover /proc until it is mounted, so that nothing can be made or mounted below it.

    With what is /dev/mqueue later: it is there anyway, has nothing in it, and is read-only for now.
    """
    program.step("mount mqueue")
    mqueue = steps.file_system(program, "mqueue", steps.NO_FILES_READ_ONLY)
    program.step("mount proc")
    steps.attach(program, mqueue, _mount_point(program, root, "proc"))
    return mqueue


def mount_proc(
    program: Program, root: Result, dev: Argument, guard: Result, new: NewFileSystems
) -> Result:
    """Mount /proc. What is reached through the descriptor is procfs, whatever paths say."""
    program.step("mount mqueue")
    steps.set_attributes(program, guard, clear=m.ATTR.RDONLY)
    steps.attach(program, guard, dev, "mqueue")
    program.step("mount proc")
    place = steps.open_in(program, root, "proc", steps.DIRECTORY, resolve=steps.NO_LINKS)
    steps.attach(program, new.proc, place)
    return new.proc


def _mount_point(program: Program, root: Result, path: str) -> Result:
    """A directory of the image, made if missing; a symlink in its place is refused (ELOOP)."""
    return steps.directory(program, root, path, resolve=steps.NO_LINKS)


def mount_dev(program: Program, root: Result, dev: Argument) -> None:
    """Attach the file system that is /dev."""
    program.step("mount dev")
    steps.attach(program, dev, _mount_point(program, root, "dev"))


def mount_sys(program: Program, root: Result, plan: ContainerPlan, new: NewFileSystems) -> None:
    """Mount /sys and the container's own control groups, read-only unless it may write them."""
    attributes, sys = _sys_attributes(plan), new.sys
    program.step("mount sysfs")
    steps.attach(program, sys, _mount_point(program, root, "sys"))
    program.step("mount cgroup")
    if plan.cgroup_version == 2:
        # in the host's namespace a mount sets the flags of all
        tree = steps.file_system(
            program, "cgroup2", attributes, dict.fromkeys(plan.cgroup_flags, "")
        )
        steps.attach(program, tree, sys, "fs/cgroup")
        return
    top = steps.file_system(program, "tmpfs", steps.NO_FILES, {"mode": "755", "size": "64k"})
    steps.attach(program, top, sys, "fs/cgroup")
    for hierarchy in plan.cgroup_hierarchies:
        controllers = hierarchy.split(",")
        program.call(Call.MKDIRAT, top, hierarchy.encode(), 0o755)
        tree = steps.file_system(program, "cgroup", attributes, dict.fromkeys(controllers, ""))
        steps.attach(program, tree, top, hierarchy)
        if len(controllers) > 1:
            for controller in controllers:
                program.call(Call.SYMLINKAT, hierarchy.encode(), top, controller.encode())
    if not plan.writable_sys:
        steps.set_attributes(program, top, set_=m.ATTR.RDONLY)


def attach_mounts(
    program: Program, root: Result, plan: ContainerPlan, mounts: tuple[Argument, ...]
) -> None:
    """Attach the mounts that the container was asked to have, in their order."""
    for fd, (target, is_directory) in zip(mounts, plan.mount_targets, strict=True):
        program.step(f"mount {target}")
        # else a mount made below this one later would appear on the host as well
        steps.set_attributes(program, fd, propagation=m.MS.PRIVATE, recursive=True)
        make = steps.directory if is_directory else steps.file
        steps.attach(program, fd, make(program, root, target))


def cover_paths(program: Program, root: Result, plan: ContainerPlan, dev: Argument) -> None:
    """Hide what the container must not see, and write-protect what it may only read."""
    if plan.masked_paths:
        _mask_paths(program, root, plan.masked_paths, dev)
    for path in plan.readonly_paths:
        program.step(f"protect {path}")
        missing = Label()
        place = _look_for(program, root, path, missing)
        cover = steps.clone_mount(program, place, recursive=True)
        steps.set_attributes(program, cover, set_=m.ATTR.RDONLY, recursive=True)
        steps.attach(program, cover, place)
        program.place(missing)


def _mask_paths(program: Program, root: Result, paths: list[str], dev: Argument) -> None:
    program.step("make mask")
    # one for all directories: a file system costs more to make and to end than a mount of it
    empty = steps.file_system(program, "tmpfs", steps.NO_FILES_READ_ONLY, {"mode": "755"})
    for path in paths:
        program.step(f"mask {path}")
        missing, is_directory, is_first = Label(), Label(), Label()
        place = _look_for(program, root, path, missing)
        # our own /dev/null, by descriptor: the image's name cannot stand in its way
        null = steps.clone_mount(program, dev, "null")
        steps.attach(
            program, null, place, then=missing, unless=errno.EINVAL, otherwise=is_directory
        )
        program.place(is_directory)
        # only what is attached can be copied before Linux 6.15
        copy = steps.clone_mount(program, empty, unless=errno.EINVAL, otherwise=is_first)
        steps.attach(program, copy, place, then=missing)
        program.place(is_first)
        steps.attach(program, empty, place)
        program.place(missing)


def _look_for(program: Program, root: Result, path: str, missing: Label) -> Result:
    return steps.open_in(
        program, root, path, os.O_PATH, resolve=steps.NO_LINKS,
        unless=errno.ENOENT, otherwise=missing,
    )  # fmt: skip


def protect_root(program: Program, root: Result) -> None:
    """Make the root mount read-only; the mounts below it stay as they are."""
    program.step("make root read-only")
    steps.set_attributes(program, root, set_=m.ATTR.RDONLY)
