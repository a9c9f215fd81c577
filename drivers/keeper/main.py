"""The keeper: parent of every container. The standard library, nothing to configure.

It makes containers, reaps them, remembers how they ended until the daemon says it knows, and keeps
the read ends of their pipes. One thread has all of its state; others only wait for an exec.
"""

from __future__ import annotations

import errno
import os
import resource  # noqa: F401  # os.wait4 wants it, and there will be no file of it any more
import select
import selectors
import signal
import socket
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from drivers.keeper import protocol
from drivers.keeper.crews import Crews
from drivers.keeper.own_mounts import leave_host_mounts
from drivers.keeper.plan import Words
from drivers.keeper.protocol import Failure
from drivers.keeper.spawn import Spawn
from drivers.kernel import process as p
from drivers.kernel.descriptors import is_reserved
from drivers.kernel.program import load_routine

_ORPHANS = 64  # so many that have ended can still be adopted
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


@dataclass(slots=True, eq=False)
class Child:
    """One process of ours."""

    key: str
    number: int  # of the spawn request
    spawn: Spawn | Orphan
    is_made: bool = False  # or has failed to be
    is_told: bool = False
    ended: dict[str, Any] | None = None  # how, once it has been reaped
    start_time_ticks: int = 0
    wanted_signal: int | None = None  # asked for before there was a process


@dataclass(slots=True, eq=False)
class Orphan:
    """A process of somebody else's making that is ours now."""

    pid: int
    pidfd: int
    start_time_ticks: int
    kept: list[int] = field(default_factory=list)
    ended: dict[str, Any] | None = None
    outcome: None = None  # it has executed its command long ago
    is_done: bool = True

    def settle(self) -> None:
        """There is nothing to let go of."""

    def hold_pidfd(self) -> None:
        """It is held from the beginning."""

    def give_ids(self) -> None:
        """It has them."""


class Keeper:
    """The loop and its tables: children by key until forgotten, and those not yet reaped."""

    def __init__(self, daemon: socket.socket) -> None:
        self._daemon = daemon
        self._selector = selectors.DefaultSelector()
        self._by_key: dict[str, Child] = {}
        self._running: dict[int, Child] = {}  # by pid, from their exec to their end
        self._unmade: set[Child] = set()
        self._orphans: deque[Orphan] = deque(maxlen=_ORPHANS)  # that have ended
        self._threads = Crews(p.last_capability())
        self._is_alone = False  # the daemon is gone
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Serve until the daemon is gone, then leave no container behind."""
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._daemon, selectors.EVENT_READ, self._serve)
        self._selector.register(self._wake, selectors.EVENT_READ, self._look_around)
        try:
            protocol.send(self._daemon, {"event": "hello", "version": protocol.VERSION})
            while True:
                for ready, _ in self._selector.select():
                    ready.data()
        except (ConnectionError, EOFError):
            self._is_alone = True
            self._kill_all()

    def _serve(self) -> None:
        """Do what one message asks for."""
        received = protocol.receive(self._daemon)
        if received is None:
            raise EOFError
        request, fds = received
        for key, pid in request.get("known", ()):
            child = self._by_key.get(key)
            if child is not None and child.ended is not None and child.ended["pid"] == pid:
                self._forget(child)
        if request.get("is_cut") or (fds and is_reserved(max(fds))):
            for fd in fds:
                os.close(fd)
            self._answer(request["n"], Failure("step", "take descriptors", errno.EMFILE, ""))
            return
        match request["op"]:
            case "spawn":
                self._spawn(request, fds)
            case "adopt":
                self._adopt(request["n"], request["key"], request["pid"], fds)
            case "signal":
                self._answer(request["n"], self._signal(request["key"], request["signal"]))
            case "list":
                known = [
                    {"key": c.key, "pid": c.spawn.pid, "start_time_ticks": c.start_time_ticks}
                    for c in self._by_key.values()
                ]
                self._answer(request["n"], {"containers": known})

    def _answer(
        self, number: int, result: dict[str, Any] | Failure, fds: list[int] | None = None
    ) -> None:
        if isinstance(result, Failure):
            self._tell({"n": number, "error": asdict(result)})
        else:
            self._tell({"n": number, "ok": result}, fds)

    def _tell(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        if not self._is_alone:
            protocol.send(self._daemon, message, fds)

    def _spawn(self, request: dict[str, Any], fds: list[int]) -> None:
        words = Words(**request["words"])
        spawn = Spawn(request["plan"], words, fds, wake_fd=self._woken)
        child = Child(request["key"], request["n"], spawn)
        self._take_up(child)
        self._unmade.add(child)
        try:
            self._threads.begin(spawn, request["bounding"])
        except RuntimeError:
            spawn.fail(Failure("step", "start thread", errno.EAGAIN, ""))

    def _adopt(self, number: int, key: str, pid: int, kept: list[int]) -> None:
        """Take up an orphan as if it had been made here; one that has ended is told of at once."""
        ended = next((orphan for orphan in reversed(self._orphans) if orphan.pid == pid), None)
        orphan = None
        if _parent_of(pid) == os.getpid() and pid not in self._running:
            orphan = _orphan(pid)
        elif ended is not None:
            orphan = ended
            self._orphans.remove(orphan)
        if orphan is None:
            for fd in kept:
                os.close(fd)
            self._answer(number, Failure("step", "adopt process", errno.ESRCH, str(pid)))
            return
        orphan.kept = kept
        child = Child(key, number, orphan, is_made=True, start_time_ticks=orphan.start_time_ticks)
        self._take_up(child)
        if orphan.ended is not None:
            child.ended = {**orphan.ended, "key": key}
        self._settle(child)

    def _look_around(self) -> None:
        """Processes were made, or wait for their ids, or have ended; adopted orphans among them."""
        os.read(self._wake, 4096)
        for child in self._unmade:
            if child.ended is None:
                child.spawn.give_ids()
        for child in [child for child in self._unmade if child.spawn.is_done]:
            if not child.is_made:
                child.is_made = True
                child.spawn.settle()
                self._settle(child)
        while self._reap_one():
            pass

    def _settle(self, child: Child) -> None:
        """Tell the daemon what has not been told of a process that was made, or was not to be."""
        failure = child.spawn.outcome
        if failure is not None:
            if child.ended is not None or not child.spawn.pid:
                self._unmade.discard(child)
                self._forget(child)
                self._answer(child.number, failure)
            return
        if not child.is_told:
            self._unmade.discard(child)
            pid = child.spawn.pid
            if child.ended is None:
                self._running[pid] = child
                child.start_time_ticks = _start_time_ticks(pid)
            known = {"pid": pid, "start_time_ticks": child.start_time_ticks}
            self._answer(child.number, known, [child.spawn.pidfd])
            child.is_told = True
            if child.wanted_signal is not None and child.ended is None:
                self._signal(child.key, child.wanted_signal)
        if child.ended is not None:
            self._tell(child.ended)

    def _signal(self, key: str, signum: int) -> dict[str, Any] | Failure:
        child = self._by_key.get(key)
        if child is None or child.ended is not None:
            return Failure("unknown-key", "signal", 0, key)
        if not child.spawn.pid:
            child.wanted_signal = signum
            return {}
        try:
            # nobody else reaps it: the number is still its own
            os.kill(child.spawn.pid, signum)
        except OSError as error:
            return Failure("step", f"signal {signum}", error.errno or 0, key)
        return {}

    def _reap_one(self) -> bool:
        """Collect one process that has ended, if there is any."""
        try:
            # a look first: until it is reaped its pid is its own, and goes out in the answer
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if ended is None:
            return False
        pid = ended.si_pid
        child = self._running.pop(pid, None)
        if child is None:
            child = next((c for c in self._unmade if c.spawn.pid == pid), None)
            if child is not None:
                child.spawn.hold_pidfd()
        if child is not None and not child.start_time_ticks:
            child.start_time_ticks = _start_time_ticks(pid)
        # who it was is kept for a while: it may be adopted yet
        orphan = None if child else _orphan(pid)
        _, status, usage = os.wait4(pid, 0)
        end = {
            "event": "exit",
            "pid": pid,
            "status": status,
            "cpu_usec": round((usage.ru_utime + usage.ru_stime) * 1_000_000),
            "max_rss_bytes": usage.ru_maxrss * 1024,
        }
        if child is not None:
            child.ended = {**end, "key": child.key}
            if child.is_made:
                self._settle(child)
        elif orphan is not None:
            orphan.ended = end
            self._keep(orphan)
        return True

    def _take_up(self, child: Child) -> None:
        """Have it by its key. Who had that before has ended, unless the kernel does not let him."""
        former = self._by_key.get(child.key)
        if former is not None and former.ended is not None:
            self._forget(former)
        self._by_key[child.key] = child

    def _keep(self, orphan: Orphan) -> None:
        if len(self._orphans) == _ORPHANS:
            os.close(self._orphans.popleft().pidfd)
        self._orphans.append(orphan)

    def _forget(self, child: Child) -> None:
        """Drop what is kept of a container that has ended."""
        if self._by_key.get(child.key) is child:
            del self._by_key[child.key]
        for fd in child.spawn.kept:
            os.close(fd)
        if child.spawn.pid:
            os.close(child.spawn.pidfd)

    def _kill_all(self) -> None:
        """End every container: with its first process goes its pid namespace."""
        while self._running or self._unmade:
            for child in (*self._running.values(), *self._unmade):
                self._signal(child.key, signal.SIGKILL)
            select.select([self._wake], [], [])
            self._look_around()


def _orphan(pid: int) -> Orphan | None:
    """A process that is not reaped yet, or None if there is no descriptor for it."""
    try:
        return Orphan(pid, os.pidfd_open(pid), _start_time_ticks(pid))
    except OSError:
        return None


def _start_time_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat."""
    return _stat_field(pid, 22)


def _parent_of(pid: int) -> int:
    """Field 4 of /proc/PID/stat."""
    return _stat_field(pid, 4)


def _stat_field(pid: int, number: int) -> int:
    """A field of /proc/PID/stat, or 0 if it cannot be read: nothing here may end the keeper.

    Source: proc_pid_stat(5).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[number - 3])
    except OSError:
        return 0


def main() -> None:
    """Serve the daemon at the socket that is descriptor argv[1]."""
    p.set_name("creche-keeper")
    p.prctl(p.PR.SET_CHILD_SUBREAPER, 1)
    # what containers' first processes share until their exec: nobody may look into it
    p.prctl(p.PR.SET_DUMPABLE, 0)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # whatever started the daemon ignored
    # the daemon decides when; its end is ours. Ignored, they would be so in every container
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    leave_host_mounts()
    load_routine()
    Keeper(socket.socket(fileno=int(sys.argv[1]))).run()
