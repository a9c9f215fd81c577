"""The last call of a program: executing the command, and what its failure means."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.keeper import plan
from drivers.keeper.protocol import Failure
from drivers.kernel.calls import Call
from drivers.kernel.mount import AT_FDCWD
from drivers.kernel.program import ANY_ERROR, Label, Program, Result, Slot, Value, Words

STEP = "exec"

_AT_SYMLINK_NOFOLLOW = 0x100
_STAT_BYTES = 256  # more than struct stat has
_MISSING = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One path that is tried; `exists` tells whether there is something after it failed."""

    path: Slot
    execution: Result
    exists: Result


@dataclass(frozen=True, slots=True)
class Execution:
    """The end of a program: the attempts in their order, and what is given for each run."""

    search: list[str]
    attempts: tuple[Attempt, ...]
    argv: Slot
    env: Slot

    def values(self, words: plan.Words) -> Iterator[tuple[Slot, Value]]:
        """What the slots hold for a run."""
        yield self.argv, _vector(words.argv)
        yield self.env, _vector(words.env)
        paths = [f"{directory}/{words.argv[0]}" for directory in self.search] or words.argv[:1]
        for attempt, path in zip(self.attempts, paths, strict=True):
            yield attempt.path, os.fsencode(path)

    def failure(self, program: Program, name: str) -> Failure:
        """Why no attempt succeeded: that of the first file that is there, else that none is."""
        for attempt in self.attempts:
            number = -(program.result(attempt.execution) or 0)
            if number not in _MISSING and name:
                words = f'exec: "{name}": {os.strerror(number).lower()}'
                return Failure("not-executable", "exec", number, words)
        if "/" in name:
            return _missing(name, self.attempts[0], program)
        words = f'exec: "{name}": executable file not found in $PATH'
        return Failure("not-found", "exec", errno.ENOENT, words)


def execute(program: Program, search: list[str]) -> Execution:
    """Execute the command: looked for in directories, or if there are none as it is named."""
    program.step(STEP)
    argv, env = program.slot(), program.slot()
    attempts = []
    for _ in search or [""]:
        path, looked = program.slot(), Label()
        execution = program.call(Call.EXECVE, path, argv, env, unless=ANY_ERROR, otherwise=looked)
        program.place(looked)
        scratch = bytes(_STAT_BYTES)
        exists = program.call(
            Call.NEWFSTATAT, AT_FDCWD, path, scratch, _AT_SYMLINK_NOFOLLOW, unless=ANY_ERROR
        )
        program.watch(execution)
        program.watch(exists)
        attempts.append(Attempt(path, execution, exists))
    program.call(Call.EXECVE, b"", argv, env)  # which fails, and ends the process
    return Execution(search, tuple(attempts), argv, env)


def _vector(words: list[str]) -> Words:
    return Words((*map(os.fsencode, words), 0))


def _missing(name: str, attempt: Attempt, program: Program) -> Failure:
    number = -(program.result(attempt.execution) or 0)
    cause = os.strerror(number).lower()
    if program.result(attempt.exists) == 0:
        cause += " (the file is there: its interpreter or the target of its link is not)"
    else:
        cause = f"stat {name}: {cause}"
    return Failure("not-found", "exec", number, f'exec: "{name}": {cause}')
