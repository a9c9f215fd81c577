"""User namespaces that are made for their maps: nobody is in them.

Sources: user_namespaces(7), clone(2).
"""

from __future__ import annotations

import os
import signal
import threading
from functools import cache

from drivers.kernel import process as p
from drivers.kernel.calls import Call
from drivers.kernel.program import Program, Slot

_FLAGS = (
    p.CLONE.NEWUSER | p.CLONE.VM | p.CLONE.PIDFD | p.CLONE.PARENT_SETTID | p.CLONE.CLEAR_SIGHAND
)
_ALL_IDS = ["0", "0", "4294967295"]
_one_at_a_time = threading.Lock()


@cache
def in_user_namespace() -> bool:
    """Whether this process's ids are not the host's: its rights end where that begins.

    Looked up once: who enters one clears what is known.
    """
    try:
        with open("/proc/self/uid_map") as file:
            return file.read().split() != _ALL_IDS
    except FileNotFoundError:
        return False  # this kernel has none


def new_user_namespace(uid_map: str, gid_map: str) -> int:
    """A descriptor of a new user namespace with these maps, texts as in /proc/PID/uid_map.

    Blocking, for less than a millisecond. Raises OSError: ENOSPC if there may be no more user
    namespaces, EINVAL or EPERM for a map.
    """
    with _one_at_a_time:
        return _make(uid_map, gid_map)


def write_maps(pid: int, uid_map: str, gid_map: str) -> None:
    """Give the user namespace of a process its maps. Raises OSError naming the file."""
    for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
        path = f"/proc/{pid}/{name}"
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())  # the kernel wants all of it at once
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from error
        finally:
            os.close(fd)


def _make(uid_map: str, gid_map: str) -> int:
    """A process holds the namespace until it has been opened; it ends at the latest with us."""
    program, (reading, writing) = _program()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pidfd = -1
    try:
        program.prepare(((reading, reader), (writing, writer)))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            program.run(p.clone_args(int(_FLAGS), exit_signal=signal.SIGCHLD))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        pidfd = program.pidfd
        write_maps(program.pid, uid_map, gid_map)
        return os.open(f"/proc/{program.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)
        os.close(reader)
        if pidfd >= 0:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)


@cache
def _program() -> tuple[Program, tuple[Slot, Slot]]:
    """Wait for the end of a pipe, and end. It uses no stack, so its maker need not wait for it."""
    program = Program()
    reading, writing = program.slot(), program.slot()
    program.call(Call.CLOSE, writing)
    program.call(Call.READ, reading, bytes(8), 1)
    program.call(Call.EXECVE, 0, 0, 0)  # which fails, and ends the process
    program.finish()
    return program, (reading, writing)
