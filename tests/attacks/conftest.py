"""The attacks on the control socket are made on a real daemon."""

from __future__ import annotations

import platform

from tests.system.conftest import busybox, creched, fresh_creched

__all__ = ["busybox", "creched", "fresh_creched"]

# its system calls are those of one machine
collect_ignore = [] if platform.machine() == "x86_64" else ["test_syscalls_x86_64.py"]
