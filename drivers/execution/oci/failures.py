"""What the messages of OCI runtimes mean: there is no standard, so each one's words are known here.

Pure. The examples are runc's and crun's.
"""

from __future__ import annotations

import errno
import json
import os
import re

from drivers.errors import (
    CommandNotExecutable,
    CommandNotFound,
    DriverError,
    LimitUnavailable,
    SpawnFailed,
)

_ENDS_WITH = {os.strerror(number).lower(): number for number in errno.errorcode}
# exec: "nope": executable file not found in $PATH; executable file `nope` not found in $PATH
_NOT_FOUND = re.compile(
    r"executable file .{0,4096}not found|exec: .{1,4096}: no such file or directory", re.I | re.S
)
# exec: "/etc/passwd": permission denied; open executable: Permission denied
_NOT_EXECUTABLE = re.compile(
    r"exec: .{1,4096}: (permission denied|is a directory|exec format error)|open executable: ",
    re.I | re.S,
)
# error setting rlimit type 7: operation not permitted; setrlimit `RLIMIT_NOFILE`: Operation ...
_RLIMIT = re.compile(
    r"setting rlimit type (?P<number>\d+)|setrlimit `?RLIMIT_(?P<name>\w+)`?", re.I
)
_OOM_SCORE = re.compile(r"oom_score_adj", re.I)
# failed to write "5": write /sys/fs/cgroup/memory/x/memory.limit_in_bytes: device or resource busy
_CGROUP = re.compile(r"(?:/sys/fs/cgroup/\S*/|`)(?P<file>(?P<controller>[a-z_]+)\.[a-z_.]+)")
_LIMITS = {"cpuset": "the set of processors", "blkio": "block devices", "io": "block devices",
           "memory": "memory", "cpu": "cpu time", "pids": "the number of processes"}  # fmt: skip


def last_message(log: str) -> str:
    """The last error of a log in JSON lines, or its last line."""
    found = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"msg": line}
        if isinstance(entry, dict) and entry.get("level", "error") in ("error", "fatal"):
            found = str(entry.get("msg", "")) or found
    return found.strip()


def explain(
    message: str, *, runtime: str, verb: str, argv: tuple[str, ...], rlimits: dict[int, str]
) -> DriverError:
    """The error for what a runtime said when `verb` failed on a process with `argv`.

    `rlimits` are the kernel's numbers and names of resource limits.
    """
    message = message.removeprefix(f"{runtime} {verb} failed: ")
    words = _name_of_errno(message)
    name = argv[0] if argv else ""
    not_executable = _NOT_EXECUTABLE.search(message)
    if _NOT_FOUND.search(message) or (not_executable and not name):
        return CommandNotFound("exec", errno.ENOENT, _not_found(message, name))
    if not_executable:
        return CommandNotExecutable("exec", errno.EACCES, _not_executable(message, name))
    limit = _limit(message, rlimits)
    if limit:
        return LimitUnavailable(f"{limit} cannot be set: {runtime} {verb}: {message}")
    return SpawnFailed(f"{runtime} {verb}", _ENDS_WITH.get(words, 0), message)


def _not_found(message: str, name: str) -> str:
    """Docker's words, which are runc's, whichever the runtime's are."""
    words = f"stat {name}: no such file or directory"
    if "/" not in name:
        words = "executable file not found in $PATH"
    return _words_of_runc(message) or f'exec: "{name}": {words}'


def _not_executable(message: str, name: str) -> str:
    return _words_of_runc(message) or f'exec: "{name}": permission denied'


def _words_of_runc(message: str) -> str:
    _, about, words = message.partition("exec: ")
    return about + words


def _limit(message: str, rlimits: dict[int, str]) -> str:
    """The name of the limit that could not be set, or nothing."""
    rlimit = _RLIMIT.search(message)
    if rlimit is not None:
        number = rlimit["number"]
        return f"ulimit {rlimits.get(int(number), number) if number else rlimit['name'].lower()}"
    if _OOM_SCORE.search(message):
        return "oom_score_adj"
    cgroup = _CGROUP.search(message)
    if cgroup is not None and cgroup["controller"] in _LIMITS:
        return f"a limit of {_LIMITS[cgroup['controller']]} ({cgroup['file']})"
    return ""


def _name_of_errno(message: str) -> str:
    """The kernel's words at the end of a message."""
    return message.rpartition(": ")[2].strip().rstrip(".").lower()
