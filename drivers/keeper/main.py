"""The keeper: parent of every container. One thread, the standard library, nothing to configure.

It forks containers, reaps them, remembers how they ended until the daemon says it knows, and
keeps the read ends of their pipes.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NoReturn

from drivers.keeper import protocol
from drivers.keeper.child import Descriptors, become_container
from drivers.keeper.host_process import become_host_process
from drivers.keeper.plan import HostPlan, Words
from drivers.keeper.protocol import Failure, Plan
from drivers.keeper.step import StepFailed
from drivers.kernel import process as p

_REPORT_BYTES = 64 * 1024
_ORPHANS = 64  # so many that have ended can still be adopted
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
_NAMESPACES = p.CLONE.NEWNS | p.CLONE.NEWPID | p.CLONE.NEWUTS | p.CLONE.NEWIPC


@dataclass(slots=True)
class Child:
    """One container's first process."""

    key: str
    number: int  # of the spawn request
    pid: int
    pidfd: int
    start_time_ticks: int
    kept: tuple[int, ...]
    report_fd: int | None  # open while it is being set up
    report: bytes = b""  # which step failed; empty if none has


@dataclass(slots=True, eq=False)
class Orphan:
    """A process that ended before anybody adopted it."""

    pid: int
    pidfd: int
    start_time_ticks: int
    end: dict[str, Any] = field(default_factory=dict)


class Keeper:
    """The loop and its two tables: children by key until forgotten, by pid until reaped."""

    def __init__(self, daemon: socket.socket) -> None:
        self._daemon = daemon
        self._selector = selectors.DefaultSelector()
        self._by_key: dict[str, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._orphans: deque[Orphan] = deque()
        self._last_capability = p.last_capability()

    def run(self) -> None:
        """Serve until the daemon is gone, then leave no container behind."""
        wake = _watch_for_ends()
        self._selector.register(self._daemon, selectors.EVENT_READ, self._serve)
        self._selector.register(wake, selectors.EVENT_READ, self._reap)
        try:
            protocol.send(self._daemon, {"event": "hello", "version": protocol.VERSION})
            while True:
                for ready, _ in self._selector.select():
                    ready.data(ready.fd)
        except (ConnectionError, EOFError):
            self._kill_all()

    def _serve(self, _: int) -> None:
        """Do what one message asks for."""
        received = protocol.receive(self._daemon)
        if received is None:
            raise EOFError
        request, fds = received
        match request["op"]:
            case "spawn":
                self._spawn(request["n"], request["key"], request["plan"], fds)
            case "spawn_host":
                self._spawn_host(request, fds)
            case "adopt":
                self._adopt(request["n"], request["key"], request["pid"], tuple(fds))
            case "signal":
                self._answer(request["n"], self._signal(request["key"], request["signal"]))
            case "list":
                known = [
                    {"key": c.key, "pid": c.pid, "start_time_ticks": c.start_time_ticks}
                    for c in self._by_key.values()
                ]
                self._answer(request["n"], {"containers": known})
            case "forget":
                self._forget(self._by_key[request["key"]])

    def _answer(
        self, number: int, result: dict[str, Any] | Failure, fds: list[int] | None = None
    ) -> None:
        if isinstance(result, Failure):
            protocol.send(self._daemon, {"n": number, "error": asdict(result)})
        else:
            protocol.send(self._daemon, {"n": number, "ok": result}, fds)

    def _spawn(self, number: int, key: str, data: dict[str, Any], fds: list[int]) -> None:
        plan = protocol.plan_from_json(data)
        named = _name_descriptors(plan, fds)
        report, child_report = os.pipe2(os.O_CLOEXEC)
        flags = _NAMESPACES
        if not plan.host_network and not plan.joins_network:
            flags |= p.CLONE.NEWNET
        cgroup_fd = named.cgroup[0] if plan.cgroup_version == 2 else None
        become = partial(become_container, plan, named, child_report, self._last_capability)
        try:
            pid, pidfd = p.clone3(flags, exit_signal=signal.SIGCHLD, cgroup_fd=cgroup_fd)
        except OSError as error:
            for fd in (report, *named.kept):
                os.close(fd)
            self._answer(number, Failure("step", "clone3", error.errno or 0, ""))
        else:
            if pid == 0:
                _in_child(become, child_report)
            self._watch(Child(key, number, pid, pidfd, _start_time_ticks(pid), named.kept, report))
        finally:
            os.close(child_report)
            for fd in set(fds) - set(named.kept):
                os.close(fd)

    def _spawn_host(self, request: dict[str, Any], fds: list[int]) -> None:
        number, key = request["n"], request["key"]
        plan, words = HostPlan(**request["plan"]), Words(**request["words"])
        report, child_report = os.pipe2(os.O_CLOEXEC)
        try:
            pid, pidfd = p.clone3(p.CLONE(0), exit_signal=signal.SIGCHLD)
        except OSError as error:
            os.close(report)
            self._answer(number, Failure("step", "clone3", error.errno or 0, ""))
        else:
            if pid == 0:
                _in_child(
                    partial(become_host_process, plan, words, fds, child_report), child_report
                )
            self._watch(Child(key, number, pid, pidfd, _start_time_ticks(pid), (), report))
        finally:
            for fd in (child_report, *fds):
                os.close(fd)

    def _adopt(self, number: int, key: str, pid: int, kept: tuple[int, ...]) -> None:
        """Take up an orphan as if it had been spawned; one that has ended is told of at once."""
        ended = next((orphan for orphan in reversed(self._orphans) if orphan.pid == pid), None)
        if _parent_of(pid) == os.getpid() and pid not in self._by_pid:
            child = Child(key, number, pid, os.pidfd_open(pid), _start_time_ticks(pid), kept, None)
            self._by_key[key] = self._by_pid[pid] = child
        elif ended is not None:
            self._orphans.remove(ended)
            child = Child(key, number, pid, ended.pidfd, ended.start_time_ticks, kept, None)
            self._by_key[key] = child
        else:
            for fd in kept:
                os.close(fd)
            self._answer(number, Failure("step", "adopt process", errno.ESRCH, str(pid)))
            return
        known = {"pid": child.pid, "start_time_ticks": child.start_time_ticks}
        self._answer(number, known, [child.pidfd])
        if child.pid not in self._by_pid:
            assert ended is not None
            protocol.send(self._daemon, {**ended.end, "key": key})

    def _watch(self, child: Child) -> None:
        """Take up a child that has been forked."""
        assert child.report_fd is not None
        self._by_key[child.key] = self._by_pid[child.pid] = child
        heard = partial(self._read_report, child)
        self._selector.register(child.report_fd, selectors.EVENT_READ, heard)

    def _read_report(self, child: Child, fd: int) -> None:
        """Hear from a child: nothing but the end of the file if it executed its command."""
        if child.report_fd != fd:
            return  # it ended in the same round, and was heard then
        data = os.read(fd, _REPORT_BYTES)
        child.report += data
        if data:
            return
        self._selector.unregister(fd)
        os.close(fd)
        child.report_fd = None
        if not child.report:
            known = {"pid": child.pid, "start_time_ticks": child.start_time_ticks}
            self._answer(child.number, known, [child.pidfd])

    def _signal(self, key: str, signum: int) -> dict[str, Any] | Failure:
        child = self._by_key.get(key)
        if child is None or child.pid not in self._by_pid:
            return Failure("unknown-key", "signal", 0, key)
        try:
            signal.pidfd_send_signal(child.pidfd, signum)
        except OSError as error:
            return Failure("step", f"signal {signum}", error.errno or 0, key)
        return {}

    def _reap(self, wake: int) -> None:
        """Collect every process that has ended, adopted orphans among them."""
        os.read(wake, 4096)
        while self._reap_one():
            pass

    def _reap_one(self) -> bool:
        """Collect one process that has ended, if there is any."""
        try:
            # a look first: until it is reaped its pid is its own, and goes out in the answer
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if ended is None:
            return False
        child = self._by_pid.pop(ended.si_pid, None)
        while child is not None and child.report_fd is not None:
            self._read_report(child, child.report_fd)  # its end of the pipe is closed
        orphan = None if child else _remember(ended.si_pid)  # before its number can be another's
        _, status, usage = os.wait4(ended.si_pid, 0)
        end = {
            "event": "exit",
            "pid": ended.si_pid,
            "status": status,
            "cpu_usec": round((usage.ru_utime + usage.ru_stime) * 1_000_000),
            "max_rss_bytes": usage.ru_maxrss * 1024,
        }
        if orphan is not None:
            orphan.end = end
            self._keep_orphan(orphan)
        elif child is not None and child.report:
            self._forget(child)
            self._answer(child.number, Failure(**json.loads(child.report)))
        elif child is not None:
            protocol.send(self._daemon, {**end, "key": child.key})
        return True

    def _keep_orphan(self, orphan: Orphan) -> None:
        self._orphans.append(orphan)
        if len(self._orphans) > _ORPHANS:
            os.close(self._orphans.popleft().pidfd)

    def _forget(self, child: Child) -> None:
        """Drop what is kept of a container that has ended."""
        del self._by_key[child.key]
        for fd in (child.pidfd, *child.kept):
            os.close(fd)

    def _kill_all(self) -> None:
        """End every container: with its first process goes its pid namespace."""
        for child in self._by_pid.values():
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        while self._by_pid:
            pid, _ = os.wait()
            self._by_pid.pop(pid, None)


def _watch_for_ends() -> int:
    """A descriptor that becomes readable at each SIGCHLD."""
    wake, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake


def _start_time_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat. Source: proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def _parent_of(pid: int) -> int:
    """Field 4 of /proc/PID/stat, or 0 if there is no such process. Source: proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _remember(pid: int) -> Orphan:
    """What is known of a process that has ended and is not reaped yet."""
    return Orphan(pid, os.pidfd_open(pid), _start_time_ticks(pid))


def _name_descriptors(plan: Plan, fds: list[int]) -> Descriptors:
    """Tell the descriptors of a spawn apart, in the order that Plan gives."""
    rest = iter(fds)
    stdio = (next(rest), next(rest), next(rest))
    root = next(rest)
    netns = next(rest) if plan.joins_network else None
    mounts = tuple(next(rest) for _ in plan.mount_targets)
    groups = 1 if plan.cgroup_version == 2 else len(plan.cgroup_hierarchies)
    cgroup = tuple(next(rest) for _ in range(groups))
    return Descriptors(stdio, root, netns, mounts, cgroup, tuple(rest))


def _in_child(become: Callable[[], None], report_fd: int) -> NoReturn:
    """Become the process asked for, or report why not. Never returns into the keeper's loop."""
    failure = Failure("step", "set up", 0, "")
    try:
        # until it is the container's own nobody may look into it, through /proc or by ptrace
        p.prctl(p.PR.SET_DUMPABLE, 0)
        signal.set_wakeup_fd(-1)
        become()
    except StepFailed as failed:
        failure = failed.failure
    except OSError as error:
        failure = Failure("step", "set up", error.errno or 0, str(error))
    # a bug, which must be told, and must not go on in the keeper's loop
    except BaseException as error:  # noqa: BLE001
        failure = Failure("step", "set up", 0, repr(error))
    finally:
        os.write(report_fd, json.dumps(asdict(failure)).encode())
        os._exit(127)


def main() -> None:
    """Serve the daemon at the socket that is descriptor argv[1]."""
    p.set_name("creche-keeper")
    p.prctl(p.PR.SET_CHILD_SUBREAPER, 1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # whatever started the daemon ignored
    # the daemon decides when; its end is ours. Ignored, they would be so in every container
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    gc.disable()
    gc.freeze()
    Keeper(socket.socket(fileno=int(sys.argv[1]))).run()
