"""The child between clone3 and exec: from a copy of the keeper to the container's first process.

Everything this needs is imported before the fork. After pivot_root nothing may be imported or
looked up by name: the files are the container's, and may be hostile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.keeper.protocol import Failure, Plan
from drivers.kernel import mount as m
from drivers.kernel import process as p
from drivers.kernel.path import RESOLVE, makedirs_in_root, openat2

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_REPORT_FD = 3
_TTY_GID = 5  # devpts gives terminals to this group, as every distribution has it
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}  # minor of major 1
_DEV_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}
_NO_LINKS = RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_NO_FILES = m.ATTR.NOSUID | m.ATTR.NODEV | m.ATTR.NOEXEC
_SCAFFOLD = "/dev"  # where the new root is attached until it becomes the root


class StepFailed(Exception):
    """A step ended with an error of the kernel's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Give a name to what the kernel refuses inside the block."""
    try:
        yield
    except OSError as error:
        detail = os.fsdecode(error.filename) if error.filename else ""
        raise StepFailed(Failure("step", name, error.errno or 0, detail)) from error


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The descriptors of a spawn, named as `Plan` orders them."""

    stdio: tuple[int, int, int]
    root: int
    netns: int | None
    mounts: tuple[int, ...]
    cgroup: tuple[int, ...]
    kept: tuple[int, ...]


def become_container(plan: Plan, fds: Descriptors, report_fd: int, last_capability: int) -> None:
    """Set everything up and execute the command; returns only by raising StepFailed."""
    reset_signals()
    os.setsid()
    join_control_groups(plan, fds)
    if fds.netns is not None:
        with step("join network namespace"):
            p.setns(fds.netns, p.CLONE.NEWNET)
    elif not plan.host_network:
        with step("bring up loopback"):
            bring_up_loopback()
    with step("set hostname"):
        socket.sethostname(plan.hostname)
        if plan.domainname:
            p.setdomainname(plan.domainname)
    enter_root(fds.root)
    proc_fd = mount_proc()
    dev_fd = mount_dev(plan.shm_size_bytes)
    mount_sys(plan)
    attach_mounts(plan, fds.mounts, proc_fd)
    cover_paths(plan, dev_fd)
    with step("set oom_score_adj"):
        set_oom_score_adj(plan.oom_score_adj, proc_fd)
    set_rlimits(plan)
    with step(f"change to working directory {plan.cwd}"):
        # never through a magic link: /proc/self/fd/N may still lead to the host here
        os.fchdir(makedirs_in_root(_root_fd(), plan.cwd))
    if plan.read_only:
        with step("make root read-only"):
            m.mount_setattr(_root_fd(), set_=m.ATTR.RDONLY)
    place_stdio(fds.stdio, report_fd)
    drop_privileges(plan, last_capability)
    execute(plan)


def reset_signals() -> None:
    """Give the command the default dispositions and an empty mask, whatever the keeper has."""
    for number in range(1, signal.SIGRTMAX + 1):
        if number in (signal.SIGKILL, signal.SIGSTOP) or 32 <= number < signal.SIGRTMIN:
            continue
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def join_control_groups(plan: Plan, fds: Descriptors) -> None:
    """On v1 enter the groups (on v2 the child was born in its own); then hide what is above."""
    if plan.cgroup_version == 1:
        for name, fd in zip(plan.cgroup_controllers, fds.cgroup, strict=True):
            with step(f"join control group {name}"):
                os.write(fd, b"0")
    # not at clone: the namespace's root is where the process is when it is made
    with step("unshare cgroup namespace"):
        p.unshare(p.CLONE.NEWCGROUP)


def bring_up_loopback() -> None:
    """Set the interface lo up. Source: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def enter_root(root_fd: int) -> None:
    """Make the detached mount the root, and let go of every mount of the host."""
    with step("make mounts private"):
        m.mount(None, "/", None, m.MS.REC | m.MS.PRIVATE)
    with step("attach root"):
        m.move_mount(root_fd, _SCAFFOLD)
        m.mount(None, _SCAFFOLD, None, m.MS.REC | m.MS.PRIVATE)
    with step("pivot_root"):
        os.chdir(_SCAFFOLD)
        # stacked on one another: the old root is on top and is taken off first
        p.pivot_root(".", ".")
        m.umount(".", m.MNT.DETACH)
        os.chdir("/")


def _root_fd() -> int:
    return os.open("/", _DIRECTORY | os.O_CLOEXEC)


def _mount_point(path: str) -> int:
    """A directory of the image, made if missing; a symlink in its place is refused (ELOOP)."""
    root = _root_fd()
    try:
        return openat2(root, path, _DIRECTORY, resolve=_NO_LINKS)
    except FileNotFoundError:
        os.mkdir(path, 0o755, dir_fd=root)
        return openat2(root, path, _DIRECTORY, resolve=_NO_LINKS)
    finally:
        os.close(root)


def _file_system(fstype: str, attributes: m.ATTR, **options: str) -> int:
    """A detached mount of a new file system."""
    context = m.fsopen(fstype)
    try:
        m.fsconfig_string(context, "source", fstype)  # what `mount` shows first
        for key, value in options.items():
            if value:
                m.fsconfig_string(context, key, value)
            else:
                m.fsconfig_flag(context, key)
        m.fsconfig_create(context)
        return m.fsmount(context, attributes)
    finally:
        os.close(context)


def mount_proc() -> int:
    """Mount /proc; the descriptor is of this very mount, so writes below it reach procfs."""
    with step("mount proc"):
        proc_fd = _file_system("proc", _NO_FILES)
        m.move_mount(proc_fd, "", dir_fd=_mount_point("proc"))
    return proc_fd


def mount_dev(shm_size_bytes: int) -> int:
    """Make a fresh /dev; returns the descriptor of its mount."""
    with step("mount dev"):
        dev_fd = _file_system("tmpfs", m.ATTR.NOSUID, mode="755", size="64k")
        os.umask(0)
        for name, minor in _DEVICES.items():
            os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(1, minor), dir_fd=dev_fd)
        os.mknod("tty", 0o666 | stat.S_IFCHR, os.makedev(5, 0), dir_fd=dev_fd)
        os.umask(0o022)
        for name, target in _DEV_LINKS.items():
            os.symlink(target, name, dir_fd=dev_fd)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=dev_fd)
        m.move_mount(dev_fd, "", dir_fd=_mount_point("dev"))
    with step("mount devpts"):
        pts = _file_system(
            "devpts",
            m.ATTR.NOSUID | m.ATTR.NOEXEC,
            newinstance="",
            ptmxmode="0666",
            mode="0620",
            gid=str(_TTY_GID),
        )
        m.move_mount(pts, "pts", dir_fd=dev_fd)
    with step("mount shm"):
        shm = _file_system("tmpfs", _NO_FILES, mode="1777", size=str(shm_size_bytes))
        m.move_mount(shm, "shm", dir_fd=dev_fd)
    with step("mount mqueue"):
        m.move_mount(_file_system("mqueue", _NO_FILES), "mqueue", dir_fd=dev_fd)
    return dev_fd


def mount_sys(plan: Plan) -> None:
    """Mount /sys and the container's own control groups, both read-only."""
    with step("mount sysfs"):
        sys_fd = _file_system("sysfs", _NO_FILES | m.ATTR.RDONLY)
        m.move_mount(sys_fd, "", dir_fd=_mount_point("sys"))
    with step("mount cgroup"):
        if plan.cgroup_version == 2:
            tree = _file_system("cgroup2", _NO_FILES | m.ATTR.RDONLY)
            m.move_mount(tree, "fs/cgroup", dir_fd=sys_fd)
            return
        top = _file_system("tmpfs", _NO_FILES, mode="755", size="64k")
        for controller in plan.cgroup_controllers:
            os.mkdir(controller, 0o755, dir_fd=top)
        m.move_mount(top, "fs/cgroup", dir_fd=sys_fd)
        for controller in plan.cgroup_controllers:
            tree = _file_system("cgroup", _NO_FILES | m.ATTR.RDONLY, **{controller: ""})
            m.move_mount(tree, controller, dir_fd=top)
        m.mount_setattr(top, set_=m.ATTR.RDONLY)


def attach_mounts(plan: Plan, mounts: tuple[int, ...], proc_fd: int) -> None:
    """Attach the mounts that the container was asked to have, in their order."""
    proc_device = os.fstat(proc_fd).st_dev
    for fd, target in zip(mounts, plan.mount_targets, strict=True):
        with step(f"mount {target}"):
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            place = _make_target(target, is_directory)
            if os.fstat(place).st_dev == proc_device:
                raise OSError(errno.EPERM, "a mount may not cover a part of /proc", target)
            m.move_mount(fd, "", dir_fd=place)
            os.close(place)


def _make_target(target: str, is_directory: bool) -> int:
    root = _root_fd()
    try:
        if is_directory:
            return makedirs_in_root(root, target)
        parent, _, _ = target.rstrip("/").rpartition("/")
        os.close(makedirs_in_root(root, parent or "/"))
        try:
            return openat2(root, target, os.O_PATH)
        except FileNotFoundError:
            os.close(openat2(root, target, os.O_WRONLY | os.O_CREAT, mode=0o644))
            return openat2(root, target, os.O_PATH)
    finally:
        os.close(root)


def cover_paths(plan: Plan, dev_fd: int) -> None:
    """Hide what the container must not see, and write-protect what it may only read."""
    root = _root_fd()
    for path in plan.masked_paths:
        with step(f"mask {path}"), contextlib.suppress(FileNotFoundError):
            place = openat2(root, path, os.O_PATH, resolve=_NO_LINKS)
            if stat.S_ISDIR(os.fstat(place).st_mode):
                cover = _file_system("tmpfs", _NO_FILES | m.ATTR.RDONLY, size="0", mode="755")
            else:
                # our own /dev/null, by descriptor: the image's name cannot stand in its way
                cover = m.open_tree_clone("null", dir_fd=dev_fd)
            m.move_mount(cover, "", dir_fd=place)
    for path in plan.readonly_paths:
        with step(f"protect {path}"), contextlib.suppress(FileNotFoundError):
            place = openat2(root, path, os.O_PATH, resolve=_NO_LINKS)
            cover = m.open_tree_clone("", dir_fd=place, recursive=True)
            m.mount_setattr(cover, set_=m.ATTR.RDONLY, recursive=True)
            m.move_mount(cover, "", dir_fd=place)


def set_oom_score_adj(value: int | None, proc_fd: int) -> None:
    """Write the adjustment, through the mount that was made here."""
    if value is None:
        return
    fd = os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    os.write(fd, str(value).encode())


def set_rlimits(plan: Plan) -> None:
    """Set the resource limits that were asked for."""
    for number, soft, hard in plan.rlimits:
        with step(f"set rlimit {number}"):
            try:
                resource.setrlimit(number, (soft, hard))
            except ValueError as error:  # Python's name for EINVAL and EPERM here
                raise OSError(errno.EPERM, str(error)) from error


def place_stdio(stdio: tuple[int, int, int], report_fd: int) -> None:
    """Put the streams at 0, 1, 2 and the report at 3, and close everything else."""
    with step("place standard streams"):
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (*stdio, report_fd)]
        for number, fd in enumerate(high):
            os.dup2(fd, number)
        os.set_inheritable(_REPORT_FD, False)
        p.close_from(_REPORT_FD + 1)


def drop_privileges(plan: Plan, last_capability: int) -> None:
    """Become the user, with the capabilities given and no way to others."""
    with step("drop capabilities"):
        if plan.no_new_privs:
            p.prctl(p.PR.SET_NO_NEW_PRIVS, 1)
        p.drop_bounding(plan.capabilities, last_capability)
        p.prctl(p.PR.SET_KEEPCAPS, 1)
    with step(f"set user {plan.uid}:{plan.gid}"):
        os.setgroups(plan.groups)
        os.setresgid(plan.gid, plan.gid, plan.gid)
        os.setresuid(plan.uid, plan.uid, plan.uid)
    with step("set capabilities"):
        p.prctl(p.PR.SET_KEEPCAPS, 0)
        p.clear_ambient()
        p.set_capabilities(plan.capabilities if plan.uid == 0 else ())


def execute(plan: Plan) -> None:
    """Execute the command, looked up in the PATH of its own environment."""
    env = dict(item.partition("=")[::2] for item in plan.env)
    name = plan.argv[0]
    if "/" in name:
        _exec_one(name, plan.argv, env, name)
        return
    denied: StepFailed | None = None
    for directory in env.get("PATH", "").split(":"):
        try:
            _exec_one(f"{directory or '.'}/{name}", plan.argv, env, name)
        except StepFailed as failed:
            if failed.failure.kind != "not-found":
                denied = denied or failed
    raise denied or StepFailed(
        Failure(
            "not-found",
            "exec",
            errno.ENOENT,
            f'exec: "{name}": executable file not found in $PATH',
        )
    )


def _exec_one(path: str, argv: list[str], env: dict[str, str], name: str) -> None:
    try:
        os.execve(path, argv, env)
    except OSError as error:
        number = error.errno or 0
        if number in (errno.ENOENT, errno.ENOTDIR):
            words = f"stat {path}: no such file or directory"
            kind = "not-found"
        else:
            words = os.strerror(number).lower()
            kind = "not-executable"
        failure = Failure(kind, "exec", number, f'exec: "{name}": {words}')
        raise StepFailed(failure) from error
