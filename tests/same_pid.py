"""A process that gets the number which another one had."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_LAST = Path("/proc/sys/kernel/ns_last_pid")  # pid_namespaces(7); the next number is one more
_PATIENCE_S = 60.0  # somebody else may be quicker, and zombies keep their numbers


@contextlib.contextmanager
def bystander(pid: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process with this number that has nothing to do with whoever had it; blocking."""
    process = _process_with(pid)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _process_with(pid: int) -> subprocess.Popen[bytes]:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        _LAST.write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "1000000"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    raise AssertionError(f"no process gets the number {pid}")
