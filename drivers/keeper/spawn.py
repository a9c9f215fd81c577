"""The making of one process: its program is carried out in a thread.

The thread waits for the exec, in the kernel; a process that is stuck before that (an image on a
dead network mount) holds up nobody else.
"""

from __future__ import annotations

import os
import signal

from drivers.keeper import own_ids
from drivers.keeper.plan import Words
from drivers.keeper.prepared import PreparedPrograms, carry_out
from drivers.keeper.protocol import Failure
from drivers.keeper.recipe import Recipe
from drivers.kernel import process as p


class Spawn:
    """A process that is being made; `outcome` is set when `is_done` is."""

    def __init__(self, plan: str, words: Words, fds: list[int], *, wake_fd: int) -> None:
        self.plan = plan
        self.words = words
        self.kept: list[int] = []  # descriptors that are kept while the process runs
        self.is_done = False
        self.outcome: Failure | None = None  # None: the command has been executed
        self.fds = fds
        self._wake_fd = wake_fd  # is written to when it is done
        self._recipe: Recipe | None = None  # while it is carried out
        self._pid = self._pidfd = 0
        self._has_own_descriptors = False  # the thread that makes it
        self._held_pidfd = 0
        self._go_fd = -1  # what the process waits for, if it gets ids of its own
        self._refusal: Failure | None = None  # of those ids

    @property
    def pid(self) -> int:
        """The process as the host numbers it; 0 before there is one."""
        recipe = self._recipe
        return recipe.program.pid if recipe else self._pid

    @property
    def pidfd(self) -> int:
        """Of the process, once there is one."""
        if self._has_own_descriptors:
            return self._held_pidfd
        recipe = self._recipe
        return recipe.program.pidfd if recipe else self._pidfd

    def give_ids(self) -> None:
        """In the main thread: let a process that waits for its ids go on, or end it."""
        go_fd = self._go_fd
        if go_fd < 0 or not self.pid:
            return
        self._go_fd = -1
        self._refusal = own_ids.give_ids(self.pid, self.words)
        if self._refusal is None:
            os.write(go_fd, b"\0")
        else:
            os.kill(self.pid, signal.SIGKILL)

    def fail(self, failure: Failure) -> None:
        """There will be no process."""
        self.outcome = failure
        self.done()

    def done(self) -> None:
        """Tell the main thread."""
        self.is_done = True
        os.write(self._wake_fd, b"\0")

    def settle(self) -> None:
        """In the main thread, once it is made: let go of what only the process needed."""
        for fd in set(self.fds) - set(self.kept):
            os.close(fd)
        self.hold_pidfd()

    def hold_pidfd(self) -> None:
        """In the main thread, before it is reaped: have a pidfd of it."""
        if self._has_own_descriptors and self.pid and not self._held_pidfd:
            self._held_pidfd = os.pidfd_open(self.pid)  # what clone3 gave goes with the thread

    def carry_out(self, programs: PreparedPrograms) -> bool:
        """From the plan to the exec, or to why there is none; whether the thread is spoilt."""
        is_spoilt = False
        try:
            recipe = programs.take(self.plan)
            if self.words.uid_map:
                reader, writer = os.pipe2(os.O_CLOEXEC)
                self.fds = [reader, writer, *self.fds]
            self.kept = recipe.kept(self.fds)
            self._has_own_descriptors = recipe.prelude is not None
            pid_namespace = recipe.pid_namespace_fd(self.fds)
            if pid_namespace is not None:
                is_spoilt = True  # all later children of this thread would be born there as well
                p.setns(pid_namespace, p.CLONE.NEWPID)
            self.outcome = self._run(recipe)
            programs.give_back(self.plan, recipe)
        except OSError as error:
            self.outcome = Failure("step", "clone3", error.errno or 0, "")
        # a bug, which must be told to whoever asked
        except BaseException as error:  # noqa: BLE001
            self.outcome = Failure("step", "set up", 0, repr(error))
        return is_spoilt

    def _run(self, recipe: Recipe) -> Failure | None:
        recipe.program.prepare(())  # forgets the last one's pid
        self._recipe = recipe
        if self.words.uid_map:
            self._go_fd = self.fds[1]
        try:
            outcome = carry_out(recipe, self.fds, self.words, self._wake_fd)
            return self._refusal or outcome
        finally:
            self._pid, self._pidfd, self._recipe = self.pid, self.pidfd, None
