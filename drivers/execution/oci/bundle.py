"""A runtime's bundle, and what passes between it and us in files.

A bundle is a directory with config.json; mounts are attached below it only as the runtime sees it,
in a mount namespace of the runtime's own. Each call that makes a process has a job in it: its
configuration, its log, the pid that it tells, the socket by which it gives a terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from drivers.errors import DriverError, from_os_error
from drivers.execution.base import MountAt
from drivers.keeper import protocol

_SOCKET = "tty.sock"
# a runtime looks at its root as the root of a user namespace, too
_DIRECTORY_MODE = 0o711


def make_directory(path: Path) -> None:
    """Make a directory and its parents if they are missing; blocking. Raises DriverError."""
    try:
        path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, f"make {path}") from error


@dataclass(frozen=True, slots=True)
class Job:
    """One call of a runtime that makes a process. Its paths are absolute, or the socket's below
    the bundle: a socket's path has room for 107 bytes only.
    """

    directory: Path

    @property
    def log(self) -> Path:
        return self.directory / "log.json"

    @property
    def pid_file(self) -> Path:
        return self.directory / "pid"

    @property
    def process(self) -> Path:
        return self.directory / "process.json"

    @property
    def socket(self) -> str:
        return f"{self.directory.name}/{_SOCKET}"

    def write_process(self, process: dict[str, Any]) -> None:
        """Write the process for `exec`; blocking."""
        self.process.write_text(json.dumps(process))

    def read_pid(self) -> int:
        """The pid that the runtime has told. Raises DriverError."""
        try:
            return int(self.pid_file.read_text())
        except (OSError, ValueError) as error:
            raise DriverError(f"the runtime told no pid in {self.pid_file}: {error}") from error

    def remove(self) -> None:
        """Remove its files; blocking."""
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The directory of one container."""

    directory: Path

    @property
    def rootfs(self) -> Path:
        return self.directory / "rootfs"

    def log(self, verb: str) -> Path:
        """The log of a call that makes no process."""
        return self.directory / f"{verb}.json"

    def mount_points(self, mounts: tuple[MountAt, ...]) -> list[Path]:
        """Where each mount is attached."""
        return [self.directory / "mounts" / str(number) for number in range(len(mounts))]

    def make(self, mounts: tuple[MountAt, ...]) -> None:
        """Make the directory and its mount points; blocking. Raises DriverError."""
        try:
            self.directory.mkdir(mode=_DIRECTORY_MODE)
            for path in (self.rootfs, self.directory / "mounts"):
                path.mkdir(mode=_DIRECTORY_MODE)
            for mount, path in zip(mounts, self.mount_points(mounts), strict=True):
                if stat.S_ISDIR(os.fstat(mount.fd).st_mode):
                    path.mkdir()
                else:
                    path.touch()
        except OSError as error:
            raise from_os_error(error, f"make bundle {self.directory}") from error

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json, which may hold secrets; blocking. Raises DriverError."""
        try:
            fd = os.open(self.directory / "config.json", os.O_WRONLY | os.O_CREAT, 0o600)
            with open(fd, "w") as file:
                json.dump(config, file)
        except OSError as error:
            raise from_os_error(error, f"write configuration in {self.directory}") from error

    def job(self, name: str) -> Job:
        """A new job; blocking. Raises DriverError."""
        directory = self.directory / name
        try:
            directory.mkdir(mode=0o700)
        except OSError as error:
            raise from_os_error(error, f"make {directory}") from error
        return Job(directory)

    def remove(self) -> None:
        """Remove the directory; blocking. Raises DriverError."""
        try:
            shutil.rmtree(self.directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise from_os_error(error, f"remove bundle {self.directory}") from error


class Console:
    """The socket at which a runtime gives our end of a process's terminal."""

    def __init__(self, job: Job) -> None:
        self._job = job
        kind = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_UNIX, kind)
        directory = os.open(job.directory, os.O_PATH | os.O_CLOEXEC)
        try:
            self._socket.bind(f"/proc/self/fd/{directory}/{_SOCKET}")
            self._socket.listen(1)
        except OSError as error:
            self._socket.close()
            raise from_os_error(error, f"listen in {job.directory}") from error
        finally:
            os.close(directory)

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._socket.close()

    def receive(self) -> int:
        """The terminal, once the runtime has ended: it has given it by then. Raises DriverError."""
        found: list[int] = []
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._socket.accept()
            with connection:
                _, ancillary, _, _ = connection.recvmsg(*protocol.RECEIVE)
                found = protocol.descriptors(ancillary)
        if len(found) != 1:
            for fd in found:
                os.close(fd)
            raise DriverError(f"the runtime gave {len(found)} terminals in {self._job.directory}")
        return found[0]
