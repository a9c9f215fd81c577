"""The daemon's side of the keeper: asks it, and hears from it how containers ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from signal import SIGKILL
from typing import Any

import trio

from drivers.errors import (
    DriverError,
    Exhausted,
    KeeperLost,
    NotRunning,
)
from drivers.keeper import launch, protocol
from drivers.keeper.plan import HostPlan, Plan, Words
from drivers.keeper.spawning import (
    LOST,
    Awaited,
    Spawned,
    Spawning,
    reaching_the_keeper,
    result_of,
    spawned_of,
)
from drivers.threads import in_thread_or_here

END_S = 10.0  # the keeper kills and reaps what is left within this
FORGET_S = 0.05  # from a known end to its forgetting, unless another message takes it along


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a first process ended: `status` is that of wait(2)."""

    status: int
    cpu_usec: int
    max_rss_bytes: int


class Keeper:
    """A running keeper. Several tasks may ask at a time."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        """`sock` does not block, and is the caller's to close."""
        self.pid = pid
        self._socket = sock
        self._number = 0
        self._replies: dict[int, Awaited] = {}
        self._ends: dict[str, Awaited] = {}
        self._lost = False
        # whose end is known, with its pid, and the keeper has not been told yet
        self._known: list[tuple[str, int]] = []
        self._some_known = trio.Event()
        self._waiting_for_room = trio.Lock()  # one task at a time can wait for a descriptor

    @contextlib.asynccontextmanager
    async def spawning(self, key: str) -> AsyncIterator[Spawning]:
        """A process to be made in the block, which asks for it and then awaits it.

        A block that fails has the process killed and reaped, if it was asked for. One that
        succeeds must be followed by `wait`.
        """
        self._ends[key] = Awaited()
        try:
            with self._expecting() as (number, reply):
                spawning = Spawning(self, key, number, reply)
                try:
                    yield spawning
                except BaseException:  # cancelled too: nobody else would end the process
                    if spawning.is_under_way:
                        with trio.move_on_after(END_S, shield=True):
                            await self._abandon(key, reply)
                    raise
                finally:
                    spawning.close()
        except BaseException:  # cancelled too: nobody waits for its end
            self._ends.pop(key, None)
            raise

    async def spawn(self, key: str, plan: Plan, words: Words, fds: list[int]) -> Spawned:
        """Execute the plan's command; returns once it has been executed, and `wait` must follow.

        Raises SpawnFailed or one of its kinds when the process that failed has been reaped.
        Cancelled, it kills the process and reaps it.
        """
        async with self.spawning(key) as spawning:
            spawning.ask(plan, words, fds)
            return await spawning.made()

    async def spawn_host(self, key: str, plan: HostPlan, words: Words, fds: list[int]) -> Spawned:
        """Execute a program of the host's, in this process's mount namespace; else as `spawn`.

        `fds` are the three streams and the plan's mounts.
        """
        namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return await self.spawn(key, plan, words, [*fds[:3], namespace, *fds[3:]])
        finally:
            os.close(namespace)

    async def adopt(self, key: str, pid: int, kept: tuple[int, ...] = ()) -> Spawned:
        """Watch an orphan that a child of the keeper has left to it; `wait` must follow.

        It may have ended a moment ago. `kept` are pipes that the keeper keeps. Raises
        SpawnFailed if there is no such orphan. To be shielded: it is not undone.
        """
        self._ends[key] = Awaited()
        try:
            async with self._asked({"op": "adopt", "key": key, "pid": pid}, list(kept)) as reply:
                message = result_of(await reply.wait())
                try:
                    return spawned_of(message, reply)
                except Exhausted:
                    await self._abandon(key, reply)
                    raise
        except BaseException:  # cancelled too: nobody waits for its end
            self._ends.pop(key, None)
            raise

    async def _abandon(self, key: str, reply: Awaited) -> None:
        """See to the end of a process that nobody wants any more."""
        with contextlib.suppress(DriverError):  # the keeper is lost, or a step failed anyway
            with contextlib.suppress(NotRunning):
                await self.signal(key, SIGKILL)
            result_of(await reply.wait())
            for fd in reply.fds:
                os.close(fd)
            await self.wait(key)

    async def wait(self, key: str) -> Exit:
        """How the first process of `key` ended; then it is forgotten."""
        end = await self._ends[key].wait()
        del self._ends[key]
        self._known.append((key, end["pid"]))
        self._some_known.set()
        return Exit(
            status=end["status"], cpu_usec=end["cpu_usec"], max_rss_bytes=end["max_rss_bytes"]
        )

    async def signal(self, key: str, signum: int) -> None:
        """Send a signal to a first process. Raises NotRunning if it has ended."""
        async with self._asked({"op": "signal", "key": key, "signal": int(signum)}) as reply:
            result_of(await reply.wait())

    async def kept(self) -> dict[str, int]:
        """The pid of the first process of every container not yet forgotten."""
        async with self._asked({"op": "list"}) as reply:
            result = result_of(await reply.wait())
        return {kept["key"]: kept["pid"] for kept in result["containers"]}

    @contextlib.asynccontextmanager
    async def _asked(
        self, request: dict[str, Any], fds: list[int] | None = None
    ) -> AsyncIterator[Awaited]:
        """Send a request; its answer is awaited in the block."""
        with self._expecting() as (number, reply):
            with reaching_the_keeper():
                await self._send({**request, "n": number}, fds or [])
            yield reply

    @contextlib.contextmanager
    def _expecting(self) -> Iterator[tuple[int, Awaited]]:
        """The number of a request that is sent in the block, and its answer."""
        if self._lost:
            raise KeeperLost(LOST)
        self._number += 1
        number = self._number
        reply = self._replies[number] = Awaited()
        try:
            yield number, reply
        finally:
            del self._replies[number]

    async def forget(self) -> None:
        """The task that has the keeper forget what no request does; never ends by itself."""
        while True:
            await self._some_known.wait()
            self._some_known = trio.Event()
            await trio.sleep(FORGET_S)
            if self._known:
                with contextlib.suppress(OSError):  # the keeper is lost
                    await self._send({"op": "forget"}, [])

    async def _send(self, message: dict[str, Any], fds: list[int]) -> None:
        known, self._known = self._known, []
        if known:
            message = {**message, "known": known}
        packet, sent, memfd = protocol.pack(message, fds)
        try:
            await self.send_packet(packet, sent)
        except BaseException:  # cancelled too: it has not heard of them
            self._known[:0] = known
            raise
        finally:
            if memfd is not None:
                os.close(memfd)

    async def send_packet(self, packet: bytes, fds: list[int]) -> None:
        """At once if there is room, as there nearly always is. Raises OSError."""
        while not self.send_at_once(packet, fds):
            async with self._waiting_for_room:
                await trio.lowlevel.wait_writable(self._socket)

    def send_at_once(self, packet: bytes, fds: list[int]) -> bool:
        """Send a packet if there is room; whether there was. Raises OSError."""
        try:
            self._socket.sendmsg([packet], protocol.rights(fds))
        except BlockingIOError:
            return False
        return True

    async def listen(self) -> None:
        """The task that hands on answers and ends; returns when the keeper is gone."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                packet, ancillary, _, _ = self._socket.recvmsg(*protocol.RECEIVE)
                if not packet:
                    return
                self._hand_on(*protocol.unpack(packet, protocol.descriptors(ancillary)))
        except ConnectionError:
            pass
        finally:
            self._lost = True
            for waiting in (*self._replies.values(), *self._ends.values()):
                waiting.arrived.set()

    def _hand_on(self, message: dict[str, Any], fds: list[int]) -> None:
        if message.get("event") == "exit":
            awaited = self._ends.get(message["key"])
        else:
            awaited = self._replies.get(message["n"])
        if awaited is None:  # given up by who asked
            for fd in fds:
                os.close(fd)
            return
        awaited.message, awaited.fds = message, fds
        awaited.arrived.set()


@contextlib.asynccontextmanager
async def open_keeper() -> AsyncIterator[Keeper]:
    """A keeper for as long as the block lasts; containers that are left then are killed.

    It goes on listening while the block is cancelled, so that containers can be seen to their
    end there. Raises KeeperLost if it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        try:
            process = await trio.to_thread.run_sync(launch.start, theirs)
        except OSError as error:
            raise KeeperLost(f"the keeper did not start: {error}") from error
        theirs.close()
        ours.setblocking(False)
        try:
            await _greet(ours)
            keeper = Keeper(ours, process.pid)
            async with trio.open_nursery() as nursery:
                listening = trio.CancelScope(shield=True)
                nursery.start_soon(_within, listening, keeper)
                nursery.start_soon(keeper.forget)
                try:
                    yield keeper
                finally:
                    listening.cancel()
                    nursery.cancel_scope.cancel()
        finally:
            ours.close()
            with trio.CancelScope(shield=True):  # bounded by END_S
                await in_thread_or_here(_end, process)


async def _within(scope: trio.CancelScope, keeper: Keeper) -> None:
    with scope:
        await keeper.listen()


async def _greet(sock: socket.socket) -> None:
    """Hear the keeper's first packet."""
    await trio.lowlevel.wait_readable(sock)
    hello = json.loads(sock.recv(protocol.PACKET_BYTES) or b"{}")
    if hello.get("version") != protocol.VERSION:
        raise KeeperLost(
            "the keeper did not start: see above what it said, or try "
            f"`{launch.interpreter()} -I -S -c 'import socket, json'`"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the keeper, which ends by itself when its socket closes; blocking."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
