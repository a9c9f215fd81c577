"""What a keeper's account of an end means."""

from __future__ import annotations

import os

from drivers.execution.base import ExitStatus
from drivers.keeper.client import Exit


def exit_status(end: Exit, *, oom_killed: bool = False) -> ExitStatus:
    """The meaning of a wait(2) status."""
    code = os.waitstatus_to_exitcode(end.status)
    return ExitStatus(
        code=code if code >= 0 else 128 - code,
        signal=-code if code < 0 else None,
        oom_killed=oom_killed,
        cpu_usec=end.cpu_usec,
        max_rss_bytes=end.max_rss_bytes,
    )
