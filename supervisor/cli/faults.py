"""supervisor's faults in words, and the exit codes that supervisorctl gives them."""

from __future__ import annotations

import enum

from supervisor.cli.errors import Exit


class Fault(enum.IntEnum):
    """Codes of faults, and of the results for the members of a group."""

    BAD_GROUP = -10  # ours: BAD_NAME where a group was asked for
    SHUTDOWN_STATE = 6
    BAD_NAME = 10
    BAD_SIGNAL = 11
    NO_FILE = 20
    NOT_EXECUTABLE = 21
    ABNORMAL_TERMINATION = 40
    SPAWN_ERROR = 50
    ALREADY_STARTED = 60
    NOT_RUNNING = 70
    SUCCESS = 80
    ALREADY_ADDED = 90
    STILL_RUNNING = 91
    CANT_REREAD = 92


_WORDS: dict[int, str] = {
    Fault.BAD_GROUP: "no such group",
    Fault.SHUTDOWN_STATE: "the daemon is shutting down",
    Fault.BAD_NAME: "no such process",
    Fault.BAD_SIGNAL: "bad signal name",
    Fault.NO_FILE: "no such file",
    Fault.NOT_EXECUTABLE: "file is not executable",
    Fault.ABNORMAL_TERMINATION: "abnormal termination",
    Fault.SPAWN_ERROR: "spawn error",
    Fault.ALREADY_STARTED: "already started",
    Fault.NOT_RUNNING: "not running",
    Fault.ALREADY_ADDED: "already active",
    Fault.STILL_RUNNING: "still running, stop it first",
}

_WITH_DETAIL = frozenset(
    {Fault.NO_FILE, Fault.NOT_EXECUTABLE, Fault.ABNORMAL_TERMINATION, Fault.SPAWN_ERROR}
)

_EXIT_CODES: dict[int, Exit] = {
    Fault.BAD_GROUP: Exit.USAGE,
    Fault.ALREADY_STARTED: Exit.OK,
    Fault.ALREADY_ADDED: Exit.OK,
    Fault.ABNORMAL_TERMINATION: Exit.NOT_RUNNING,
    Fault.SPAWN_ERROR: Exit.NOT_RUNNING,
    Fault.NOT_RUNNING: Exit.NOT_RUNNING,
    Fault.SUCCESS: Exit.OK,
}


def describe(code: int, reason: str) -> str:
    """What went wrong, with the daemon's own words where they say more than the code."""
    name, _, detail = reason.partition(": ")
    if not name.isupper():  # supervisor words its faults "SPAWN_ERROR: why"
        detail = reason
    words = _WORDS.get(code)
    if words is None:
        return detail or f"fault {code}"
    return f"{words}: {detail}" if code in _WITH_DETAIL and " " in detail else words


def exit_code_of(code: int) -> Exit:
    """The exit code of a fault; whatever is not named in the table is a plain failure."""
    return _EXIT_CODES.get(code, Exit.FAILED)
