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
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


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
        return f"{step}: {words}"


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


def from_os_error(error: OSError, what: str) -> DriverError:
    """The DriverError for an OSError met while doing `what` ("create layer 'a1b2'")."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    where = f" {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in (errno_names.ENOSPC, errno_names.EDQUOT):
        return NoSpace(f"{what}:{where} {cause.lower()}")
    return DriverError(f"{what}:{where} {cause.lower()}")


def leaves(group: BaseExceptionGroup[E]) -> list[E]:
    """The errors in an exception group, however deep."""
    found: list[E] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
