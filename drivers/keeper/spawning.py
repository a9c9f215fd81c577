"""One process that is being made, as who asks the keeper for it sees it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from drivers.errors import (
    CommandNotExecutable,
    CommandNotFound,
    DriverError,
    KeeperLost,
    NotRunning,
    SpawnFailed,
    from_os_error,
)
from drivers.keeper import protocol
from drivers.keeper.plan import Plan, Words, to_text

LOST = "the keeper process has ended, and all containers with it: restart the daemon"


class Channel(Protocol):
    """What leads to the keeper. Both raise OSError."""

    def send_at_once(self, packet: bytes, fds: list[int]) -> bool:
        """Send a packet if there is room; whether there was. Any thread may call it."""
        ...

    async def send_packet(self, packet: bytes, fds: list[int]) -> None:
        """Wait for room, and send it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """A command that has been executed. The pidfd is the receiver's to close."""

    pid: int
    start_time_ticks: int
    pidfd: int


@dataclass(slots=True, eq=False)
class Awaited:
    """A message that somebody waits for; None once arrived means that the keeper is lost."""

    arrived: trio.Event = field(default_factory=trio.Event)
    message: dict[str, Any] | None = None
    fds: list[int] = field(default_factory=list)

    async def wait(self) -> dict[str, Any]:
        await self.arrived.wait()
        if self.message is None:
            raise KeeperLost(LOST)
        return self.message


class Spawning:
    """One process that is being made; see `Keeper.spawning`."""

    def __init__(self, channel: Channel, key: str, number: int, reply: Awaited) -> None:
        self.is_under_way = False  # asked for, and neither failed nor the caller's
        self._channel = channel
        self._request = {"op": "spawn", "n": number, "key": key}
        self._reply = reply
        self._unsent: tuple[bytes, list[int]] | None = None
        self._memfd: int | None = None

    def ask(self, plan: Plan, words: Words, fds: list[int]) -> None:
        """Ask for it; any thread may, and none waits. `fds` stay open until `made` returns."""
        request = {
            **self._request,
            "plan": to_text(plan),
            "bounding": plan.bounding,
            "words": words.fields(),
        }
        with reaching_the_keeper():
            packet, sent, self._memfd = protocol.pack(request, fds)
            self.is_under_way = self._channel.send_at_once(packet, sent)
        self._unsent = None if self.is_under_way else (packet, sent)

    async def made(self) -> Spawned:
        """Wait until the command has been executed.

        Raises SpawnFailed or one of its kinds when the process that failed has been reaped.
        """
        if self._unsent is not None:
            with reaching_the_keeper():
                await self._channel.send_packet(*self._unsent)
            self.is_under_way = True
        try:
            message = result_of(await self._reply.wait())
        except DriverError:
            self.is_under_way = False
            raise
        found = spawned_of(message, self._reply)
        self.is_under_way = False
        return found

    def close(self) -> None:
        """It has been sent, or will not be."""
        if self._memfd is not None:
            os.close(self._memfd)


@contextlib.contextmanager
def reaching_the_keeper() -> Iterator[None]:
    """A failure in the block is one to reach the keeper."""
    try:
        yield
    except ConnectionError as error:
        raise KeeperLost(f"{LOST}: {error}") from error
    except OSError as error:
        raise from_os_error(error, "ask the keeper") from error


def spawned_of(message: dict[str, Any], reply: Awaited) -> Spawned:
    """What an answer says of a process. Raises Exhausted if there was no descriptor for it."""
    if not reply.fds:
        raise from_os_error(OSError(errno.EMFILE, ""), "take the pidfd of a new process")
    start_time_ticks = message["start_time_ticks"]
    return Spawned(pid=message["pid"], start_time_ticks=start_time_ticks, pidfd=reply.fds[0])


def result_of(message: dict[str, Any]) -> dict[str, Any]:
    """What an answer brings, or the exception for the failure that it reports."""
    if "ok" in message:
        result: dict[str, Any] = message["ok"]
        return result
    error = message["error"]
    if error["kind"] == "unknown-key":
        raise NotRunning(f"container {error['detail']} is not running")
    kinds = {"not-found": CommandNotFound, "not-executable": CommandNotExecutable}
    raise kinds.get(error["kind"], SpawnFailed)(error["step"], error["errno"], error["detail"])
