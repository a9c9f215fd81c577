"""GET /containers/{id}/top."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

import psutil
import trio

from supervisor.control.context import Control
from supervisor.control.docker.values import answer
from supervisor.control.http import Answer, Request

_TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]


async def top(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/top: the columns of `ps -ef`, without running ps."""
    pids = await control.manager.pids(request.parameters["id"])
    rows = await trio.to_thread.run_sync(_rows, pids)
    return answer({"Titles": _TITLES, "Processes": rows})


def _rows(pids: Sequence[int]) -> list[list[str]]:
    rows = []
    for pid in pids:
        try:
            rows.append(_row(psutil.Process(pid)))
        except psutil.NoSuchProcess:
            continue  # ended since it was listed
    return rows


def _row(process: psutil.Process) -> list[str]:
    with process.oneshot():
        cpu_s = int(sum(process.cpu_times()[:2]))
        return [
            process.username(),
            str(process.pid),
            str(process.ppid()),
            "0",
            datetime.fromtimestamp(process.create_time()).strftime("%H:%M"),
            process.terminal() or "?",
            f"{cpu_s // 3600:02}:{cpu_s // 60 % 60:02}:{cpu_s % 60:02}",
            shlex.join(process.cmdline()) or f"[{process.name()}]",
        ]
