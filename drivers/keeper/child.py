"""The child between clone3 and exec: from a copy of the keeper to the container's first process.

Everything this needs is imported before the fork. After pivot_root nothing may be imported or
looked up by name: the files are the container's, and may be hostile.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import struct
from dataclasses import dataclass

from drivers.keeper import rootfs
from drivers.keeper.protocol import Failure, Plan
from drivers.keeper.step import StepFailed, step
from drivers.kernel import process as p
from drivers.kernel.path import makedirs_in_root

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_FIRST_NOT_STANDARD = 3


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
    """Set everything up and execute the command; returns only by raising StepFailed.

    `report_fd` stays open, and closes at the exec.
    """
    # the keeper blocks some, and leaves every disposition at its default for this
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    os.umask(0)
    _join_control_groups(plan, fds.cgroup)
    _enter_network(plan, fds.netns)
    with step("set hostname"):
        socket.sethostname(plan.hostname)
        if plan.domainname:
            p.setdomainname(plan.domainname)
    rootfs.enter_root(fds.root)
    proc_fd, dev_fd = rootfs.mount_kernel_files(plan)
    rootfs.attach_mounts(plan, fds.mounts, proc_fd)
    rootfs.cover_paths(plan, dev_fd)
    _set_oom_score_adj(plan.oom_score_adj, proc_fd)
    with step(f"change to working directory {plan.cwd}"):
        # never through a magic link: /proc/self/fd/N may still lead to the host here
        os.fchdir(makedirs_in_root(rootfs.open_root(), plan.cwd))
    if plan.read_only:
        rootfs.protect_root()
    _place_stdio(fds.stdio, report_fd)
    _set_rlimits(plan)  # now that no step needs another descriptor
    _drop_privileges(plan, last_capability)
    os.umask(0o022)
    _execute(plan)


def _join_control_groups(plan: Plan, groups: tuple[int, ...]) -> None:
    """On v1 enter the groups (on v2 the child was born in its own); then hide what is above."""
    if plan.cgroup_version == 1:
        for name, fd in zip(plan.cgroup_hierarchies, groups, strict=True):
            with step(f"join control group {name}"):
                os.write(fd, b"0")
    # not at clone: the namespace's root is where the process is when it is made
    with step("unshare cgroup namespace"):
        p.unshare(p.CLONE.NEWCGROUP)


def _enter_network(plan: Plan, netns: int | None) -> None:
    """Join the namespace given, or make the new one's loopback work. Source: netdevice(7)."""
    if netns is not None:
        with step("join network namespace"):
            p.setns(netns, p.CLONE.NEWNET)
    elif not plan.host_network:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with step("bring up loopback"), socket.socket(socket.AF_INET, kind) as sock:
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _set_oom_score_adj(value: int | None, proc_fd: int) -> None:
    """Write the adjustment, through the mount that was made here."""
    if value is None:
        return
    with step("set oom_score_adj"):
        fd = os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        os.write(fd, str(value).encode())


def _place_stdio(stdio: tuple[int, int, int], report_fd: int) -> None:
    """Put the streams at 0, 1, 2 and close everything else but the report."""
    with step("place standard streams"):
        # first out of the way: a stream may have come as 0, 1 or 2
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_NOT_STANDARD) for fd in stdio]
        for number, fd in enumerate(high):
            os.dup2(fd, number)
        if report_fd > _FIRST_NOT_STANDARD:
            p.close_range(_FIRST_NOT_STANDARD, report_fd - 1)
        p.close_range(report_fd + 1)


def _set_rlimits(plan: Plan) -> None:
    for number, soft, hard in plan.rlimits:
        with step(f"set rlimit {number}"):
            try:
                resource.setrlimit(number, (soft, hard))
            except ValueError as error:  # Python's name for EINVAL and EPERM here
                raise OSError(errno.EPERM, str(error)) from error


def _drop_privileges(plan: Plan, last_capability: int) -> None:
    """Become the user, with the capabilities given and no way to others."""
    known = [number for number in plan.capabilities if number <= last_capability]
    with step("drop capabilities"):
        if plan.no_new_privs:
            p.prctl(p.PR.SET_NO_NEW_PRIVS, 1)
        p.drop_bounding(known, last_capability)
        p.prctl(p.PR.SET_KEEPCAPS, 1)
    with step(f"set user {plan.uid}:{plan.gid}"):
        os.setgroups(plan.groups)
        os.setresgid(plan.gid, plan.gid, plan.gid)
        os.setresuid(plan.uid, plan.uid, plan.uid)
    with step("set capabilities"):
        p.prctl(p.PR.SET_KEEPCAPS, 0)
        p.clear_ambient()
        p.set_capabilities(known if plan.uid == 0 else ())


def _execute(plan: Plan) -> None:
    """Execute the command, looked up in the PATH of its own environment."""
    env = dict(item.partition("=")[::2] for item in plan.env)
    name = plan.argv[0]
    if "/" in name:
        _execute_one(name, plan.argv, env, name)
    denied: StepFailed | None = None
    for directory in env.get("PATH", "").split(":") if name else ():
        try:
            _execute_one(f"{directory or '.'}/{name}", plan.argv, env, name)
        except StepFailed as failed:
            if failed.failure.kind != "not-found":
                denied = denied or failed
    words = f'exec: "{name}": executable file not found in $PATH'
    raise denied or StepFailed(Failure("not-found", "exec", errno.ENOENT, words))


def _execute_one(path: str, argv: list[str], env: dict[str, str], name: str) -> None:
    try:
        os.execve(path, argv, env)
    except OSError as error:
        number = error.errno or 0
        words = os.strerror(number).lower()
        kind = "not-found" if number in (errno.ENOENT, errno.ENOTDIR) else "not-executable"
        if kind == "not-found" and os.path.lexists(path):
            words += " (the file is there: its interpreter or the target of its link is not)"
        elif kind == "not-found":
            words = f"stat {path}: {words}"
        failure = Failure(kind, "exec", number, f'exec: "{name}": {words}')
        raise StepFailed(failure) from error
