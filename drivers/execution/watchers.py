"""Who may look into processes beside it: nothing of the host's is to be seen while one is made.

Until it executes its command a new process shares the keeper's memory, or has what the container
has not. It is in its pid namespace from the beginning. Who is there already, and has
CAP_SYS_PTRACE in the daemon's user namespace, may read all of it.
Source: ptrace(2), "Ptrace access mode checking".
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import trio

from drivers.errors import Conflict, NotRunning
from drivers.execution.base import Command

_PID = re.compile(r"^Pid:\t(-?\d+)$", re.MULTILINE)


def may_look(command: Command) -> bool:
    """Whether the container may look into what comes from the host.

    Root of a user namespace of its own may not.
    """
    return "CAP_SYS_PTRACE" in command.capabilities and command.id_map is None


def pid_namespace_of(fd: int) -> int:
    """The inode of a pid namespace, by its descriptor or a pidfd of a process in it.

    Raises NotRunning if that has ended. Source: pidfd_open(2), proc_pid_fdinfo(5).
    """
    pid = _pid_of(fd)
    if pid is None:
        return os.fstat(fd).st_ino
    try:
        inode = os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        pid = -1
    if pid < 0 or _pid_of(fd) != pid:  # else the number was its own all the time
        raise NotRunning("the process whose pid namespace is looked for has ended")
    return inode


def _pid_of(pidfd: int) -> int | None:
    """The number of its process, -1 if that was reaped; None for another kind of descriptor."""
    found = _PID.search(Path(f"/proc/self/fdinfo/{pidfd}").read_text())
    return None if found is None else int(found[1])


class Watchers:
    """Who may look, in which pid namespaces; and what is being made there."""

    def __init__(self) -> None:
        self._watched: dict[str, int] = {}  # pid namespaces by who may look there
        self._making: Counter[int] = Counter()
        self._made = trio.Event()

    def are_in(self, namespace: int, *, but: str = "") -> bool:
        """Whether anybody else than `but` may look into what is made in a pid namespace."""
        return any(namespace == n for key, n in self._watched.items() if key != but)

    @contextlib.contextmanager
    def making(self, namespace: int) -> Iterator[None]:
        """A process is made there in this block: who wants to look waits for its end."""
        self._making[namespace] += 1
        try:
            yield
        finally:
            self._making[namespace] -= 1
            if not self._making[namespace]:
                del self._making[namespace]
            self._made.set()
            self._made = trio.Event()

    @contextlib.asynccontextmanager
    async def watching(self, key: str, namespace: int) -> AsyncIterator[None]:
        """`key` may look there in this block, which begins when nothing is being made."""
        self._watched[key] = namespace
        try:
            while namespace in self._making:
                await self._made.wait()
            yield
        finally:
            del self._watched[key]

    def check_unseen(self, key: str, namespace: int) -> None:
        """Raise Conflict if a container's first process would be seen while it is made."""
        if self.are_in(namespace, but=key):
            raise Conflict(
                f"container {key} cannot join a pid namespace in which another container has "
                "CAP_SYS_PTRACE: that could look into it while it is made, and take what is the "
                "host's (start the one with the capability last, or give them user namespaces)"
            )
