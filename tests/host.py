"""What containers could leave behind on this host."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


class Host:
    """Counts what is of one daemon (or of any, with the defaults)."""

    def __init__(self, cgroup_parent: str = "/creche", directory: Path = Path("/nowhere")) -> None:
        self._parent = cgroup_parent.strip("/")
        self._directory = str(directory)

    def left_over(self) -> dict[str, list[str]]:
        """Mounts, control groups and processes; empty if there is nothing."""
        found = {
            "mounts": self._mounts(),
            "cgroups": self._cgroups(),
            "processes": self._processes(),
        }
        return {what: which for what, which in found.items() if which}

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if self._directory in line]

    def _cgroups(self) -> list[str]:
        tops = [_CGROUPS, *(p for p in _CGROUPS.iterdir() if p.is_dir())]
        return [str(top / self._parent) for top in tops if (top / self._parent).exists()]

    def _processes(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            if process.name == str(os.getpid()):
                continue
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                groups = (process / "cgroup").read_text()
            except (OSError, UnicodeDecodeError):
                continue
            if self._directory in command or f"/{self._parent}/" in groups:
                found.append(f"{process.name} {command}")
        return found


def mounts() -> str:
    """This process's mounts, to compare."""
    return Path("/proc/self/mountinfo").read_text()
