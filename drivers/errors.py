"""What can go wrong, sorted by whose fault it is and what to do now.

    CrecheError
    ├── RequestError              the caller's: change the request
    │   ├── InvalidRequest        it makes no sense as it stands
    │   ├── NotFound              it names something that is not there
    │   ├── Conflict              it does not fit the state things are in
    │   │   ├── AlreadyExists     the name is taken
    │   │   ├── InUse             somebody holds it
    │   │   └── NotRunning        it needs a running container
    │   ├── NotModified           it is so already
    │   ├── Forbidden             this caller may not
    │   ├── TooLarge              it is bigger than the limit it names
    │   └── NotImplementedYet     Creche does not do this (yet)
    ├── DriverError               this host's, or what a driver met on it
    │   ├── Unsupported           this host has no such feature
    │   ├── IncompatibleFilesystem  it has, but not over this file system
    │   ├── LimitUnavailable      a limit asked for cannot be enforced here
    │   ├── NoSpace               the disk (or a quota) is full
    │   ├── Exhausted             no descriptor, thread, process or memory is left
    │   ├── CorruptData           state or content is not what it must be
    │   ├── SpawnFailed           a step of starting a process failed
    │   │   ├── CommandNotFound   the command is not in the container (exit code 127)
    │   │   └── CommandNotExecutable  it is there but cannot be run (126)
    │   └── KeeperLost            the process that holds the containers is gone
    └── ConfigError               an administrator's file is wrong: names file, line and key

Messages are lower case without a full stop and say object, operation and cause. A bug is none of
these: it is an ordinary Python exception and ends the daemon loudly.
"""

from __future__ import annotations

import errno as errno_names
import os
from collections.abc import Mapping
from typing import TypeVar

E = TypeVar("E", bound=BaseException)

_DAEMONS_FILES = "the daemon has as many open as it may (LimitNOFILE of its service, `ulimit -Hn`)"
_NO_MORE_PROCESSES = (
    "a limit on processes is reached (pids.max of a control group above, which is TasksMax of a "
    "service, `ulimit -u`, kernel.pid_max or kernel.threads-max)"
)
# What the kernel says when something is used up, and which limit that is.
_EXHAUSTED: Mapping[int, str] = {
    errno_names.EMFILE: _DAEMONS_FILES,
    errno_names.ENFILE: "so has the whole host (fs.file-max)",
    errno_names.ENOMEM: "the host has no more, or the control group of the daemon",
}
_NO_THREAD = "can't start new thread"  # all that Python tells of it
_LONG_PATH = 200


class CrecheError(Exception):
    """Anything Creche reports on purpose."""


class RequestError(CrecheError):
    """The caller's fault."""


class InvalidRequest(RequestError):
    """The request makes no sense; `field` names the part that is wrong, if one is."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(RequestError):
    """Something the request names is not there."""


class Conflict(RequestError):
    """The request does not fit the present state."""


class AlreadyExists(Conflict):
    """The name or key is taken."""


class InUse(Conflict):
    """Something else still holds it."""


class NotRunning(Conflict):
    """The operation needs a running container."""


class NotModified(RequestError):
    """The state asked for is the state there is."""


class Forbidden(RequestError):
    """This caller has no permission."""


class TooLarge(RequestError):
    """The request exceeds a limit, which the message names."""


class NotImplementedYet(RequestError):
    """A part of the API that Creche does not have."""


class DriverError(CrecheError):
    """This host's fault, or what a driver met on it."""


class Unsupported(DriverError):
    """This host has no such feature; the message says what would help."""


class IncompatibleFilesystem(DriverError):
    """The host has the feature, but not over this file system."""


class LimitUnavailable(DriverError):
    """A limit that was asked for cannot be enforced on this host."""


class NoSpace(DriverError):
    """No room on the device, or a quota is used up."""


class Exhausted(DriverError):
    """No descriptor, thread, process or memory is left; the message says which limit that is."""


class CorruptData(DriverError):
    """Stored or received content is not what its name or digest says."""


class KeeperLost(DriverError):
    """The keeper process ended while it was needed."""


class SpawnFailed(DriverError):
    """A step between clone and exec failed; `step` is its name, `errno` the kernel's answer.

    An errno of 0 is one that is not known, as when another program met it.
    """

    exit_code = 128

    def __init__(self, step: str, errno: int, detail: str = "") -> None:
        super().__init__(self._words(step, errno, detail))
        self.step = step
        self.errno = errno
        self.detail = detail

    def _words(self, step: str, errno: int, detail: str) -> str:
        name = errno_names.errorcode.get(errno, str(errno))
        words = f"{name} ({detail})" if detail and errno else detail or name
        # of what a step can meet, only making a process or a thread answers so
        why = _NO_MORE_PROCESSES if errno == errno_names.EAGAIN else _EXHAUSTED.get(errno, "")
        return f"{step}: {words}: {why}" if why else f"{step}: {words}"


class _CommandFailed(SpawnFailed):
    """Every step before the command itself went well; the detail says it all."""

    def _words(self, step: str, errno: int, detail: str) -> str:
        return detail or super()._words(step, errno, detail)


class CommandNotFound(_CommandFailed):
    """The command does not exist in the container."""

    exit_code = 127


class CommandNotExecutable(_CommandFailed):
    """The command exists but cannot be executed."""

    exit_code = 126


class ConfigError(CrecheError):
    """A unit or configuration file is wrong; the message starts with `file:line: key`."""


def _shown(path: str | bytes) -> str:
    """The path, without its middle if it is too long to be read."""
    text = os.fsdecode(path)
    return text if len(text) <= _LONG_PATH else f"{text[: _LONG_PATH // 2]}...{text[-40:]}"


def from_os_error(error: OSError, what: str) -> DriverError:
    """The DriverError for an OSError met while doing `what` ("create layer 'a1b2'")."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    where = f" {_shown(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
    message = f"{what}:{where} {cause.lower()}"
    if error.errno in (errno_names.ENOSPC, errno_names.EDQUOT):
        return NoSpace(message)
    why = _EXHAUSTED.get(error.errno or 0)
    if why is not None:
        return Exhausted(f"{message}: {why}")
    return DriverError(message)


# What the kernel refuses the daemon itself comes as one of these, wherever it happens to be.
HOST_ERRORS = (OSError, MemoryError, RuntimeError)


def from_host_error(error: Exception, what: str) -> DriverError | None:
    """The DriverError for one of HOST_ERRORS, as `from_os_error`; None if it is a bug."""
    if isinstance(error, OSError):
        return from_os_error(error, what)
    if isinstance(error, MemoryError):
        return from_os_error(OSError(errno_names.ENOMEM, ""), what)
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return Exhausted(f"{what}: no thread can be started: {_NO_MORE_PROCESSES}")
    return None


def reported(group: ExceptionGroup[Exception], what: str) -> list[CrecheError]:
    """What is to be told of a group of CrecheErrors and HOST_ERRORS; raises it if one is a bug."""
    found: list[CrecheError] = []
    for error in leaves(group):
        told = error if isinstance(error, CrecheError) else from_host_error(error, what)
        if told is None:
            raise group
        found.append(told)
    return found


def leaves(group: BaseExceptionGroup[E]) -> list[E]:
    """The errors in an exception group, however deep."""
    found: list[E] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
