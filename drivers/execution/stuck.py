"""Processes that neither stop nor end: they wait for the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.execution.cgroup_files import read_or_empty


def explain_stuck(pids: Iterable[int]) -> str:
    """The end of an error message: which of the processes wait for the kernel, if any does."""
    waiting = [pid for pid in pids if _state(pid) == "D"]
    if not waiting:
        return ""
    return (
        f": {waiting} wait for the kernel (the state D in ps), most often for a disk or a network "
        "mount"
    )


def _state(pid: int) -> str:
    """The letter of a process's state, "" if it has ended. Source: proc_pid_stat(5)."""
    words = read_or_empty(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return words[0] if words else ""
