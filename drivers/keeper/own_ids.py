"""The start of a process in a new user namespace: it waits for its maps, and becomes root there.

Who makes the process waits for its exec, so the keeper's main thread writes the maps.
"""

from __future__ import annotations

import errno

from drivers.keeper.plan import Words
from drivers.keeper.protocol import Failure
from drivers.kernel.calls import Call
from drivers.kernel.process import CLONE
from drivers.kernel.program import Argument, Program
from drivers.kernel.user_namespace import write_maps


def await_maps(
    program: Program, announcement: Argument, reading: Argument, writing: Argument
) -> None:
    """Say that the process is there, and go on when there is something to read.

    The other end is closed first: should the keeper end, it goes on without maps, and fails.
    """
    program.step("await id maps")
    program.call(Call.CLOSE, writing)
    # a full pipe wakes the keeper as well
    program.call(Call.WRITE, announcement, b"\0", 1, unless=errno.EAGAIN)
    program.call(Call.READ, reading, bytes(8), 1)


def join(program: Program, userns: Argument, new_namespaces: int) -> None:
    """Enter a user namespace, and make those that are to be its own."""
    program.step("join user namespace")
    program.call(Call.SETNS, userns, CLONE.NEWUSER)
    program.step("unshare namespaces")
    program.call(Call.UNSHARE, new_namespaces)


def become_root(program: Program) -> None:
    """The host's ids mean nothing in the namespace: a file made by them could not be."""
    program.step("become root of the user namespace")
    program.call(Call.SETGROUPS, 0, 0)
    program.call(Call.SETRESGID, 0, 0, 0)
    program.call(Call.SETRESUID, 0, 0, 0)


def give_ids(pid: int, words: Words) -> Failure | None:
    """In the main thread: what a waiting process of ours needs the host's rights for."""
    try:
        write_maps(pid, words.uid_map, words.gid_map)
    except OSError as error:
        return Failure("step", "set id maps", error.errno or 0, words.uid_map.strip())
    if words.oom_score_adj is None:
        return None
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(words.oom_score_adj))
    except OSError as error:
        return Failure("step", "set oom_score_adj", error.errno or 0, "")
    return None
