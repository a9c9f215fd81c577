"""/dev: a file system of the container's own, its devices, its terminals."""

from __future__ import annotations

import errno
import os
import stat

from drivers.keeper import steps
from drivers.keeper.plan import ContainerPlan, PlannedDevice
from drivers.kernel import mount as m
from drivers.kernel.calls import Call
from drivers.kernel.program import Argument, Program, Result

_DEVPTS_OPTIONS = {"ptmxmode": "0666", "mode": "0620"}
_MEMORY_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}  # minors of major 1
# What every container has, and their mode.
DEVICES = {
    **{name: os.makedev(1, minor) for name, minor in _MEMORY_DEVICES.items()},
    "tty": os.makedev(5, 0),
}
DEVICE_MODE = 0o666 | stat.S_IFCHR
OPTIONS = {"mode": "755", "size": "65536k"}  # of the file system
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}
_NO_PROGRAMS = m.ATTR.NOSUID | m.ATTR.NOEXEC
_NOT_THROUGH_LINKS = 0x100  # AT_SYMLINK_NOFOLLOW


def make_dev(program: Program, plan: ContainerPlan) -> Result:
    """The file system with the devices that every container has, still detached.

    A keeper in a user namespace can make none: they are among the container's mounts.
    """
    program.step("mount dev")
    dev = steps.file_system(program, "tmpfs", m.ATTR.NOSUID, OPTIONS)
    for name, number in () if plan.bare_dev else DEVICES.items():
        program.call(Call.MKNODAT, dev, name.encode(), DEVICE_MODE, number)
    return dev


def make_places(program: Program, dev: Argument, plan: ContainerPlan) -> None:
    """The links in it, and the directories of what is mounted below."""
    for name, target in _LINKS.items():
        program.call(Call.SYMLINKAT, target.encode(), dev, name.encode())
    for name in ("pts", "mqueue", *(["shm"] if plan.shm_size_bytes else [])):
        program.call(Call.MKDIRAT, dev, name.encode(), 0o755, unless=errno.EEXIST)


def mount_below(
    program: Program, dev: Argument, plan: ContainerPlan, given: tuple[Argument, ...]
) -> None:
    """Mount /dev/pts (the one given, if it is) and /dev/shm, unless it is to have no size."""
    program.step("mount devpts")
    options = {**_DEVPTS_OPTIONS, **({} if plan.tty_gid is None else {"gid": str(plan.tty_gid)})}
    (pts,) = given or (steps.file_system(program, "devpts", _NO_PROGRAMS, options),)
    steps.attach(program, pts, dev, "pts")
    if not plan.shm_size_bytes:
        return
    program.step("mount shm")
    size = {"mode": "1777", "size": str(plan.shm_size_bytes)}
    steps.attach(program, steps.file_system(program, "tmpfs", steps.NO_FILES, size), dev, "shm")


def bind_console(program: Program, dev: Argument, terminal: Argument) -> None:
    """/dev/console is the container's terminal: by its descriptor, which no name can swap."""
    program.step("mount console")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    program.call(Call.OPENAT, dev, b"console", flags, 0o600)
    steps.attach(program, steps.clone_mount(program, terminal), dev, "console")


def make_devices(program: Program, root: Result, devices: list[PlannedDevice]) -> None:
    """The device files that the container was asked to have."""
    for device in devices:
        program.step(f"make device {device.path}")
        above, _, name = device.path.rstrip("/").rpartition("/")
        place = steps.directory(program, root, above)
        at = os.fsencode(name)
        number = os.makedev(device.major, device.minor)
        program.call(Call.MKNODAT, place, at, device.mode, number, unless=errno.EEXIST)
        program.call(Call.FCHOWNAT, place, at, device.uid, device.gid, _NOT_THROUGH_LINKS)
