"""Calls of a runtime that make a process: the keeper runs them and takes up what they leave."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass

import trio

from drivers.errors import DriverError
from drivers.execution.base import Pipes
from drivers.execution.ends import looked_after
from drivers.execution.oci.bundle import Bundle, Console, Job
from drivers.execution.oci.runtime import Runtime
from drivers.keeper.client import Keeper
from drivers.keeper.spawning import Spawned

LAUNCH_S = 60.0  # a runtime that takes longer hangs


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of the runtime."""

    key: str  # of the process, for the keeper
    verb: str
    arguments: list[str]
    argv: tuple[str, ...]  # of the process
    bundle: Bundle
    job: Job
    pipes: Pipes
    terminal: bool
    mounts: tuple[tuple[int, str], ...] = ()  # attached at paths that only the runtime sees


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that the keeper watches. Its descriptors are the receiver's to close."""

    spawned: Spawned
    terminal_fd: int | None


async def launch(keeper: Keeper, runtime: Runtime, call: Call) -> Launched:
    """Have the runtime make a process, which is then the keeper's child.

    Shielded, for what a runtime has half made cannot be told from outside. Raises what the
    runtime says, and DriverError if it takes too long.
    """
    with trio.move_on_after(LAUNCH_S, shield=True), ExitStack() as opened:
        console = opened.enter_context(Console(call.job)) if call.terminal else None
        await runtime.call(
            call.key,
            call.verb,
            call.arguments,
            _streams(call, opened),
            log=call.job.log,
            argv=call.argv,
            cwd=str(call.bundle.directory),
            mounts=call.mounts,
        )
        pid = call.job.read_pid()
        spawned = await keeper.adopt(call.key, pid, call.pipes.kept)
        if console is None:
            return Launched(spawned, None)
        try:
            return Launched(spawned, console.receive())
        except DriverError:
            opened.callback(os.close, spawned.pidfd)
            async with looked_after(keeper, call.key, spawned):
                raise
    raise DriverError(f"{runtime.name} {call.verb} did not end within {LAUNCH_S:g} s")


def _streams(call: Call, opened: ExitStack) -> list[int]:
    """The runtime's own streams become those of a process that has no terminal."""
    if not call.terminal:
        return [call.pipes.stdin, call.pipes.stdout, call.pipes.stderr]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    opened.callback(os.close, null)
    return [null] * 3
