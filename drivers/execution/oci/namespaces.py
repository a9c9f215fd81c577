"""Namespaces to join, as paths: a runtime takes no descriptors."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from drivers.errors import NotRunning
from drivers.execution.base import Namespaces
from drivers.execution.live import has_ended

# Our names, and those in /proc/PID/ns.
_IN_PROC = {"pid": "pid", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "network": "net",
            "user": "user"}  # fmt: skip


def open_namespaces(namespaces: Namespaces, held: ExitStack) -> dict[str, str]:
    """A path for each namespace that is joined, good until `held` is closed.

    Raises NotRunning if a process whose namespace is meant has ended.
    """
    found = {}
    for kind, name in _IN_PROC.items():
        wanted = getattr(namespaces, kind)
        if isinstance(wanted, int):
            pid = _pid_of(wanted)
            fd = wanted if pid is None else _open_of_process(wanted, pid, name, held)
            found[kind] = f"/proc/{os.getpid()}/fd/{fd}"
    return found


def _pid_of(fd: int) -> int | None:
    """The process of a pidfd, or None for another descriptor. Source: pidfd_open(2), fdinfo."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return None


def _open_of_process(pidfd: int, pid: int, name: str, held: ExitStack) -> int:
    try:
        fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotRunning("the process whose namespace is to be joined has ended") from error
    held.callback(os.close, fd)
    if has_ended(pidfd):  # then the number may have been another's
        raise NotRunning("the process whose namespace is to be joined has ended")
    return fd
