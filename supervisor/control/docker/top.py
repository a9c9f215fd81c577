"""GET /containers/{id}/top."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import trio

from drivers.errors import InvalidRequest, Unsupported
from supervisor.control.context import Control
from supervisor.control.docker.values import answer
from supervisor.control.http import Answer, Request

if TYPE_CHECKING:
    import psutil

_TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
_USUAL = ("", "-ef")  # shown without running ps
_PS_S = 10.0
_RENAMED_PID = re.compile(r"\S*=\s*PID", re.IGNORECASE)  # -o x=PID would hide which process it is


async def top(control: Control, request: Request) -> Answer:
    """GET /containers/{id}/top: the columns of `ps -ef`, or of the host's ps with `ps_args`."""
    pids = await control.manager.pids(request.parameters["id"])
    asked = request.get("ps_args")
    if asked in _USUAL:
        titles, rows = _TITLES, await trio.to_thread.run_sync(_rows, pids)
    else:
        titles, rows = chosen(await _run_ps(asked), frozenset(pids))
    return answer({"Titles": titles, "Processes": rows})


async def _run_ps(asked: str) -> str:
    """What the host's ps says of all processes. Raises InvalidRequest for wrong arguments."""
    if _RENAMED_PID.search(asked) or "\0" in asked:
        raise InvalidRequest(f"ps arguments {asked!r} are not allowed", field="ps_args")
    try:
        with trio.fail_after(_PS_S):
            done = await trio.run_process(
                ["ps", *asked.split()],
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
    except FileNotFoundError as error:
        raise Unsupported("ps is not installed on this host") from error
    except trio.TooSlowError as error:
        raise Unsupported(f"ps {asked} does not end within {_PS_S:.0f} s") from error
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise InvalidRequest(f"Error running ps: {text.strip()}", field="ps_args")
    return text


def chosen(text: str, pids: frozenset[int]) -> tuple[list[str], list[list[str]]]:
    """The titles and those lines of ps's output that are about `pids`.

    Raises InvalidRequest, in Docker's words, if it has no process ids.
    """
    titles, *lines = [line.split() for line in text.splitlines()] or [[]]
    if "PID" not in titles:
        raise InvalidRequest("Couldn't find PID field in ps output", field="ps_args")
    at, last = titles.index("PID"), len(titles) - 1
    rows = []
    for words in lines:
        if len(words) > at and words[at].isdecimal() and int(words[at]) in pids:
            rows.append([*words[:last], " ".join(words[last:])])
    return titles, rows


def _rows(pids: Sequence[int]) -> list[list[str]]:
    import psutil  # here, for the daemon is to start fast

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
