"""What crechectl tells the user on one line, with the exit code that goes with it."""

from __future__ import annotations

import enum
import errno


class Exit(enum.IntEnum):
    """Exit codes: supervisorctl's, which are the LSB's, and Docker's from 125 on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_ALL_RUNNING = 3  # of `status`
    UNKNOWN = 4  # of `status`: a name or a daemon that is not there
    UNREACHABLE = 4
    NOT_RUNNING = 7
    DAEMON = 125  # of `run`: the daemon refused
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CliError(Exception):
    """Ends the command; `code` None leaves the exit code to the verb."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ApiError(CliError):
    """The daemon refused; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(CliError):
    """No daemon answers at the socket."""

    def __init__(self, path: str, error: OSError) -> None:
        reason = {
            errno.ENOENT: "no such file",
            errno.ECONNREFUSED: "nobody listens there",
            errno.EACCES: "permission denied",
        }.get(error.errno or 0, error.strerror or str(error))
        way_out = (
            "use sudo, or have an administrator set socket-group"
            if error.errno == errno.EACCES
            else "is it running? start it with `creched`, or name its socket with --socket"
        )
        super().__init__(f"cannot reach creched at {path}: {reason} ({way_out})")
        self.errno = error.errno
