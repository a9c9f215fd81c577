"""A real daemon in directories of its own, and the real clients for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0  # then it hangs; a machine that is emulated, and busy, may take a minute
_READY = "daemon.ready"  # what it logs


@dataclass
class Daemon:
    """One creched; `start` and `stop` may be called again."""

    directory: Path
    cgroup_parent: str
    storage: str = ""
    root_size: str = ""  # the root is then a tmpfs of this size, in a mount namespace of its own
    root_filesystem: str = ""  # it is then one of this type, which lives in memory
    options: list[str] = field(default_factory=list)  # more of them
    prefix: list[str] = field(default_factory=list)  # a program that starts it
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "run" / "creche.sock"

    @property
    def units_dir(self) -> Path:
        return self.directory / "units"

    @property
    def log(self) -> str:
        return (self.directory / "creched.log").read_text()

    def start(self) -> None:
        """Start and wait until it answers."""
        log_file = self.directory / "creched.log"
        starts_before = self.log.count(_READY) if log_file.exists() else 0
        self.units_dir.mkdir(exist_ok=True)
        options = [
            *("--root", self.directory / "root", "--run-dir", self.directory / "run"),
            *("--units", self.units_dir, "--cgroup-parent", self.cgroup_parent),
            *("--log-level", "debug"),
            *(("--storage-driver", self.storage) if self.storage else ()),
            *self.options,
        ]
        with open(log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*self._before(), sys.executable, "-m", "supervisor.daemon", *options],
                stderr=log,
                cwd=REPOSITORY,
            )
        self._wait_for_start(starts_before)

    def reload(self) -> None:
        """Have it execute itself again, by the real supervisorctl."""
        starts_before = self.log.count(_READY)
        said = self.supervisorctl("reload", check=True).stdout
        assert said == "Restarted supervisord\n", said
        self._wait_for_start(starts_before)

    def _wait_for_start(self, starts_before: int) -> None:
        assert self.process is not None
        end = time.monotonic() + PATIENCE_S
        while self.log.count(_READY) == starts_before:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"creched did not start:\n{self.log}")
            time.sleep(0.02)

    def _before(self) -> list[str]:
        """What to start the daemon with, if its root is a file system of its own."""
        if not self.root_size and not self.root_filesystem:
            return self.prefix
        root = self.directory / "root"
        root.mkdir(mode=0o700, exist_ok=True)
        fstype = self.root_filesystem or "tmpfs"
        size = f"size={self.root_size}," if self.root_size else ""
        mount = f"mount -t {fstype} -o {size}mode=700 {fstype} {root}"
        return [
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-ec",
            f'{mount}; exec "$@"',
            "-",
        ]

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self.process is not None
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE_S)

    def docker(
        self,
        *arguments: str | Path,
        input: str | None = None,
        check: bool = False,
        binary: str = "docker",
        api: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run the real docker client."""
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}"}
        if api:
            environment["DOCKER_API_VERSION"] = api
        return _run([binary, *map(str, arguments)], environment, input, check)

    def docker_begun(self, *arguments: str) -> subprocess.Popen[str]:
        """A docker client that goes on, with its output in a pipe."""
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}"}
        command = ["docker", *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def supervisorctl(
        self, *arguments: str, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the real supervisorctl."""
        command = ["/usr/bin/supervisorctl", "-s", f"unix://{self.socket}", *arguments]
        return _run(command, {"PATH": "/usr/bin:/bin"}, None, check)

    def crechectl(
        self, *arguments: str | Path, input: str | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run crechectl."""
        command = [sys.executable, "-m", "supervisor.cli.main", "-s", self.socket, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return _run([str(part) for part in command], environment, input, check)

    @property
    def image(self) -> Path:
        """The archive with the image that is loaded."""
        return self.directory / "busybox.tar"


def _run(
    command: list[str], environment: dict[str, str], input: str | None, check: bool
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        env=environment,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr}"
    return done


def docker_binaries() -> list[str]:
    """The docker clients of this machine: the newest and the distribution's."""
    found = [shutil.which("docker"), "/usr/bin/docker"]
    return sorted({os.path.realpath(path) for path in found if path and os.path.exists(path)})
