"""The daemon's side of the keeper: starts it, asks it, and hears from it how containers ended."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from drivers.errors import (
    CommandNotExecutable,
    CommandNotFound,
    DriverError,
    KeeperLost,
    NotRunning,
    SpawnFailed,
)
from drivers.keeper import protocol
from drivers.keeper.protocol import Plan

END_S = 10.0  # the keeper kills and reaps what is left within this

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_PACKAGES = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, sys.argv[2]); from drivers.keeper.main import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a first process ended: `status` as wait(2) gives it, or None if the keeper was lost."""

    status: int | None
    cpu_usec: int = 0
    max_rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """A command that has been executed. The pidfd is the receiver's to close."""

    pid: int
    pidfd: int


class _Reply:
    """What an asker waits for."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.message: dict[str, Any] | None = None
        self.fds: list[int] = []


class Keeper:
    """A running keeper. Several tasks may ask at a time."""

    def __init__(self, sock: trio.socket.SocketType, pid: int) -> None:
        self.pid = pid
        self._socket = sock
        self._number = 0
        self._replies: dict[int, _Reply] = {}
        self._ends: dict[str, _Reply] = {}
        self._sending = trio.Lock()
        self._lost = False

    async def spawn(self, key: str, plan: Plan, fds: list[int]) -> Spawned:
        """Execute the plan's command; returns once it has been executed.

        Raises SpawnFailed or one of its kinds. `wait` must follow a return.
        """
        self._ends[key] = _Reply()
        request = {"op": "spawn", "key": key, "plan": protocol.plan_to_json(plan)}
        try:
            reply = await self._ask(request, fds)
        except BaseException:
            del self._ends[key]
            raise
        assert reply.message is not None
        return Spawned(pid=reply.message["pid"], pidfd=reply.fds[0])

    async def wait(self, key: str) -> Exit:
        """How the first process of `key` ended; then it is forgotten."""
        end = self._ends[key]
        await end.arrived.wait()
        del self._ends[key]
        if end.message is None:
            return Exit(status=None)
        with contextlib.suppress(KeeperLost):
            await self._ask({"op": "forget", "key": key})
        return Exit(
            status=end.message["status"],
            cpu_usec=end.message["cpu_usec"],
            max_rss_bytes=end.message["max_rss_bytes"],
        )

    async def signal(self, key: str, signum: int) -> None:
        """Send a signal to a first process. Raises NotRunning if it has ended."""
        await self._ask({"op": "signal", "key": key, "signal": int(signum)})

    async def kept(self) -> dict[str, int]:
        """The pid of the first process of every container that is kept, ended ones included."""
        reply = await self._ask({"op": "list"})
        assert reply.message is not None
        return {kept["key"]: kept["pid"] for kept in reply.message["containers"]}

    async def _ask(self, request: dict[str, Any], fds: list[int] | None = None) -> _Reply:
        """Send a request and wait for its answer.

        Not cancellable: an answer may bring a process that somebody must own.
        """
        if self._lost:
            raise KeeperLost("the keeper process has ended")
        self._number += 1
        number = self._number
        reply = self._replies[number] = _Reply()
        packet, sent, memfd = protocol.pack({**request, "n": number}, fds or [])
        with trio.CancelScope(shield=True):
            try:
                async with self._sending:
                    await self._socket.sendmsg([packet], _rights(sent))
                await reply.arrived.wait()
            except OSError as error:
                raise KeeperLost(f"the keeper process has ended: {error}") from error
            finally:
                del self._replies[number]
                if memfd is not None:
                    os.close(memfd)
        if reply.message is None:
            raise KeeperLost("the keeper process has ended")
        if "error" in reply.message:
            raise _error_of(reply.message["error"])
        reply.message = reply.message["ok"]
        return reply

    async def listen(self) -> None:
        """The task that hands on answers and ends; returns when the keeper is gone."""
        try:
            while True:
                packet, ancillary, _, _ = await self._socket.recvmsg(
                    protocol.PACKET_BYTES + 4096,
                    socket.CMSG_SPACE(protocol.MAX_FDS * 4),
                    socket.MSG_CMSG_CLOEXEC,
                )
                if not packet:
                    return
                message, fds = protocol.unpack(packet, _descriptors(ancillary))
                self._hand_on(message, fds)
        except ConnectionError:
            pass
        finally:
            self._lost = True
            for waiting in (*self._replies.values(), *self._ends.values()):
                waiting.arrived.set()

    def _hand_on(self, message: dict[str, Any], fds: list[int]) -> None:
        if message.get("event") == "exit":
            reply = self._ends[message["key"]]
        else:
            reply = self._replies[message["n"]]
        reply.message, reply.fds = message, fds
        reply.arrived.set()


def _rights(fds: list[int]) -> list[tuple[int, int, bytes]]:
    if not fds:
        return []
    data = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)]


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    return [
        int.from_bytes(data[at : at + 4], sys.byteorder)
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for at in range(0, len(data) - len(data) % 4, 4)
    ]


def _error_of(error: dict[str, Any]) -> DriverError | NotRunning:
    """The exception for a failure that the keeper reports."""
    if error["kind"] == "unknown-key":
        return NotRunning(f"container {error['detail']} is not running")
    kinds = {"not-found": CommandNotFound, "not-executable": CommandNotExecutable}
    return kinds.get(error["kind"], SpawnFailed)(error["step"], error["errno"], error["detail"])


def _sealed_interpreter(path: str) -> int:
    """A copy of the interpreter in memory that nobody can write to any more.

    Whoever is run from it, and whoever looks at /proc/PID/exe, never reaches the host's binary.
    """
    memfd = os.memfd_create("creche-python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb") as source, open(memfd, "wb", closefd=False) as copy:
        shutil.copyfileobj(source, copy)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
    return memfd


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the keeper at its end of the socket pair; blocking."""
    python = os.path.realpath(sys.executable)
    memfd = _sealed_interpreter(python)
    try:
        return subprocess.Popen(
            # argv[0] is where the interpreter finds its library from
            [python, "-I", "-S", "-B", "-c", _START, str(theirs.fileno()), _PACKAGES],
            executable=f"/proc/self/fd/{memfd}",
            pass_fds=(theirs.fileno(), memfd),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(memfd)


@contextlib.asynccontextmanager
async def open_keeper() -> AsyncIterator[Keeper]:
    """A keeper for as long as the block lasts; containers that are left then are killed.

    Raises KeeperLost if it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = await trio.to_thread.run_sync(_start, theirs)
    sock = trio.socket.from_stdlib_socket(ours)
    try:
        hello = json.loads(await sock.recv(protocol.PACKET_BYTES) or b"{}")
        if hello.get("version") != protocol.VERSION:
            raise KeeperLost(f"the keeper did not start: {python_hint()}")
        keeper = Keeper(sock, process.pid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.listen)
            try:
                yield keeper
            finally:
                nursery.cancel_scope.cancel()
    finally:
        sock.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_end, process)


def python_hint() -> str:
    """What to try when the interpreter does not run from its copy."""
    return f"try `{os.path.realpath(sys.executable)} -I -S -c 'import socket, json'`"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the keeper, which ends by itself when its socket closes; blocking."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
