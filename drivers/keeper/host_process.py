"""The child between fork and exec of a program of the host's: its streams and private mounts."""

from __future__ import annotations

import fcntl
import os
import signal

from drivers.keeper.plan import HostPlan, Words
from drivers.keeper.step import step
from drivers.kernel import mount as m
from drivers.kernel import process as p

_FIRST_NOT_STANDARD = 3
_ALL_PRIVATE = m.MS.REC | m.MS.PRIVATE


def become_host_process(plan: HostPlan, words: Words, fds: list[int], report_fd: int) -> None:
    """Set up what the plan says and execute the program; returns only by raising StepFailed."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    if plan.private_mounts:
        with step("unshare mount namespace"):
            p.unshare(p.CLONE.NEWNS)
            m.mount(None, "/", None, _ALL_PRIVATE)
    for fd, target in zip(fds[3:], plan.mount_targets, strict=True):
        with step(f"attach {target}"):
            m.move_mount(fd, target)
    with step("place standard streams"):
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_NOT_STANDARD) for fd in fds[:3]]
        for number, fd in enumerate(high):
            os.dup2(fd, number)
        if report_fd > _FIRST_NOT_STANDARD:
            p.close_range(_FIRST_NOT_STANDARD, report_fd - 1)
        p.close_range(report_fd + 1)
    with step(f"change to working directory {plan.cwd}"):
        os.chdir(plan.cwd)
    env = dict(item.partition("=")[::2] for item in words.env)
    with step("exec"):
        os.execve(words.argv[0], words.argv, env)
