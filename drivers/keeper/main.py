"""The keeper: parent of every container. One thread, the standard library, nothing to configure.

It forks containers, reaps them, remembers how they ended until the daemon says it knows, and
keeps the read ends of their pipes.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NoReturn

from drivers.keeper import protocol
from drivers.keeper.child import Descriptors, StepFailed, become_container
from drivers.keeper.protocol import Failure, Plan
from drivers.kernel import process as p

_REPORT_BYTES = 64 * 1024
_NAMESPACES = p.CLONE.NEWNS | p.CLONE.NEWPID | p.CLONE.NEWUTS | p.CLONE.NEWIPC


@dataclass(slots=True)
class Child:
    """One container's first process."""

    key: str
    pid: int
    pidfd: int
    kept: tuple[int, ...]
    report_fd: int | None  # open until the command is executed or a step has failed
    number: int  # of the spawn request, which is answered then
    ended: dict[str, Any] | None = None  # the exit event, once reaped
    report: bytes = field(default=b"")


class Keeper:
    """The loop and its two tables: children by key and by pid."""

    def __init__(self, daemon: socket.socket) -> None:
        self._daemon = daemon
        self._selector = selectors.DefaultSelector()
        self._by_key: dict[str, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._last_capability = p.last_capability()

    def run(self) -> None:
        """Serve until the daemon is gone, then leave no container behind."""
        wake = self._watch_for_ends()
        self._selector.register(self._daemon, selectors.EVENT_READ, self._serve)
        self._selector.register(wake, selectors.EVENT_READ, self._reap)
        protocol.send(self._daemon, {"event": "hello", "version": protocol.VERSION})
        try:
            while True:
                for ready, _ in self._selector.select():
                    ready.data(ready.fd)
        except (ConnectionError, EOFError):
            self._kill_all()

    def _watch_for_ends(self) -> int:
        """A descriptor that becomes readable at each SIGCHLD."""
        wake, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return wake

    def _serve(self, _: int) -> None:
        """Answer one request."""
        received = protocol.receive(self._daemon)
        if received is None:
            raise EOFError
        request, fds = received
        number = request["n"]
        match request["op"]:
            case "spawn":
                self._spawn(number, request["key"], request["plan"], fds)
            case "signal":
                self._answer(number, self._signal(request["key"], request["signal"]))
            case "list":
                known = [{"key": c.key, "pid": c.pid} for c in self._by_key.values()]
                self._answer(number, {"containers": known})
            case "forget":
                self._forget(request["key"])
                self._answer(number, {})

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
        try:
            pid, pidfd = p.clone3(flags, exit_signal=signal.SIGCHLD, cgroup_fd=cgroup_fd)
        except OSError as error:
            os.close(report)
            self._answer(number, Failure("step", "clone3", error.errno or 0, ""))
            for fd in named.kept:
                os.close(fd)
        else:
            if pid == 0:
                _in_child(plan, named, child_report, self._last_capability)
            child = Child(key, pid, pidfd, named.kept, report, number)
            self._by_key[key] = self._by_pid[pid] = child
            heard = partial(self._read_report, child)
            self._selector.register(report, selectors.EVENT_READ, heard)
        finally:
            os.close(child_report)
            for fd in set(fds) - set(named.kept):
                os.close(fd)

    def _read_report(self, child: Child, fd: int) -> None:
        """The child executed its command, or says which step failed."""
        data = os.read(fd, _REPORT_BYTES)
        if data:
            child.report += data
            return
        self._end_report(child)

    def _end_report(self, child: Child) -> None:
        """Answer the spawn request."""
        assert child.report_fd is not None
        self._selector.unregister(child.report_fd)
        os.close(child.report_fd)
        child.report_fd = None
        if not child.report:
            self._answer(child.number, {"pid": child.pid}, [child.pidfd])
            return
        self._answer(child.number, Failure(**json.loads(child.report)))
        self._forget(child.key)

    def _signal(self, key: str, signum: int) -> dict[str, Any] | Failure:
        child = self._by_key.get(key)
        if child is None or child.ended:
            return Failure("unknown-key", "signal", 0, key)
        signal.pidfd_send_signal(child.pidfd, signum)
        return {}

    def _reap(self, wake: int) -> None:
        """Collect every process that has ended, adopted orphans among them."""
        os.read(wake, 4096)
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._by_pid.pop(pid, None)
            if child is None:
                continue
            child.ended = {
                "event": "exit",
                "key": child.key,
                "pid": pid,
                "status": status,
                "cpu_usec": round((usage.ru_utime + usage.ru_stime) * 1_000_000),
                "max_rss_bytes": usage.ru_maxrss * 1024,
            }
            self._tell_end(child)

    def _tell_end(self, child: Child) -> None:
        """Announce an end; never before the answer to the spawn, never for a failed one."""
        while child.report_fd is not None:
            self._read_report(child, child.report_fd)
        if child.ended and not child.report:
            protocol.send(self._daemon, child.ended)

    def _forget(self, key: str) -> None:
        """Drop what is kept of a container whose end the daemon knows."""
        child = self._by_key.pop(key, None)
        if child is not None:
            for fd in (child.pidfd, *child.kept):
                os.close(fd)

    def _kill_all(self) -> None:
        """End every container: with its first process goes its pid namespace."""
        for child in self._by_pid.values():
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        while self._by_pid:
            pid, _ = os.wait()
            self._by_pid.pop(pid, None)


def _name_descriptors(plan: Plan, fds: list[int]) -> Descriptors:
    """Tell the descriptors of a spawn apart, in the order that Plan gives."""
    rest = iter(fds)
    stdio = (next(rest), next(rest), next(rest))
    root = next(rest)
    netns = next(rest) if plan.joins_network else None
    mounts = tuple(next(rest) for _ in plan.mount_targets)
    groups = 1 if plan.cgroup_version == 2 else len(plan.cgroup_controllers)
    cgroup = tuple(next(rest) for _ in range(groups))
    return Descriptors(stdio, root, netns, mounts, cgroup, tuple(rest))


def _in_child(plan: Plan, fds: Descriptors, report_fd: int, last_capability: int) -> NoReturn:
    """Become the container, or report why not. Never returns into the keeper's loop."""
    failure = Failure("step", "set up", 0, "")
    try:
        # what holds no secrets may not be looked into either until it is the container's own
        p.prctl(p.PR.SET_DUMPABLE, 0)
        signal.set_wakeup_fd(-1)
        become_container(plan, fds, report_fd, last_capability)
    except StepFailed as failed:
        failure = failed.failure
    except OSError as error:
        failure = Failure("step", "set up", error.errno or 0, str(error))
    # a bug, which must be told, and must not go on in the keeper's loop
    except BaseException as error:  # noqa: BLE001
        failure = Failure("step", "set up", 0, repr(error))
    try:
        report = json.dumps(asdict(failure)).encode()
        try:
            os.write(report_fd, report)
        except OSError:
            os.write(3, report)  # the streams were placed already: the report is there now
    finally:
        os._exit(127)


def main() -> None:
    """Serve the daemon at the socket that is descriptor argv[1]."""
    p.set_name("creche-keeper")
    p.prctl(p.PR.SET_CHILD_SUBREAPER, 1)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the daemon decides when; its end is ours
    gc.disable()
    gc.freeze()
    Keeper(socket.socket(fileno=int(sys.argv[1]))).run()
