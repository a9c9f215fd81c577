"""Starts creched and dockerd in directories of their own, and ends them again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from drivers.execution import cgroup
from tests.bench.api import Api
from tests.bench.setup import REPOSITORY, Missing, Setup, in_private_mounts, need

START_S = 60.0
END_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A daemon that answers at its socket."""

    name: str
    socket: Path
    pid: int
    directory: Path

    def host_processes(self) -> list[psutil.Process]:
        """What runs on the host for the containers, without what runs in them.

        By descent, or by the engine's directory in the command line: Docker's shims leave home.
        """
        own = _pid_namespace(os.getpid())
        family = {self.pid} | {p.pid for p in psutil.Process(self.pid).children(recursive=True)}
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                named = str(self.directory) in " ".join(process.cmdline())
                if (process.pid in family or named) and _pid_namespace(process.pid) == own:
                    found.append(process)
        return [process for process in found if process.name() not in ("unshare", "sh")]


def _pid_namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


@contextlib.contextmanager
def creched(setup: Setup) -> Iterator[Engine]:
    """Creche, with its defaults."""
    place = setup.below("creched")
    (place / "units").mkdir()
    command = [
        *(sys.executable, "-m", "supervisor.daemon", "--root", str(place / "root")),
        *("--run-dir", str(place / "run"), "--units", str(place / "units")),
        *("--cgroup-parent", _group_name(), "--log-level", "error"),
    ]
    with _running(setup, "creched", command, place, place / "run" / "creche.sock") as engine:
        yield engine


@contextlib.contextmanager
def dockerd(setup: Setup) -> Iterator[Engine]:
    """Docker, without bridge and firewall, and with a /run that is nobody else's."""
    place = setup.below("dockerd")
    socket, group = place / "docker.sock", _group_name()
    options = [
        *(need("dockerd"), "--data-root", str(place / "data"), "--exec-root", str(place / "exec")),
        *("-H", f"unix://{socket}", "-p", str(place / "pid"), "--bridge=none"),
        *("--iptables=false", "--exec-opt", "native.cgroupdriver=cgroupfs"),
        *("--cgroup-parent", group, "--config-file", str(place / "none.json")),
    ]
    (place / "none.json").write_text("{}")
    command = in_private_mounts('mount -t tmpfs tmpfs /run; exec "$@"', *options)
    try:
        with _running(setup, "dockerd", command, place, socket) as engine:
            yield engine
    finally:
        _remove_groups(group)


def _group_name() -> str:
    return f"/creche-bench-{os.getpid()}"


def _remove_groups(group: str) -> None:
    """Docker leaves the parents of its containers' control groups."""
    for mount in {*cgroup.detect().mounts.values(), *Path("/sys/fs/cgroup").iterdir()}:
        top = mount / group.lstrip("/")
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(directory)


@contextlib.contextmanager
def _running(
    setup: Setup, name: str, command: list[str], place: Path, socket: Path
) -> Iterator[Engine]:
    """The daemon with the image `bench` in it."""
    log_file = place / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    engine = Engine(name=name, socket=socket, pid=process.pid, directory=place)
    try:
        _wait_for_answer(process, engine, log_file)
        archive = setup.directory / "root.tar"
        with contextlib.closing(Api(socket)) as api, archive.open("rb") as tar:
            api.call("POST", "/images/create", upload=tar, fromSrc="-", repo="bench")
        os.sync()  # or it is written while something is measured
        yield engine
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(END_S)


def _wait_for_answer(process: subprocess.Popen[bytes], engine: Engine, log_file: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        if process.poll() is not None or time.monotonic() > end:
            tail = log_file.read_text(errors="replace").strip().splitlines()[-1:]
            raise Missing(f"{engine.name} did not start: {tail}")
        with contextlib.suppress(OSError), contextlib.closing(Api(engine.socket)) as api:
            api.call("GET", "/containers/json")
            return
        time.sleep(0.05)  # a socket that is not there yet has no descriptor to wait for
