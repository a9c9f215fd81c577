"""creched as the guest's systemd runs it, installed as a package would."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.system.daemon import PATIENCE_S, REPOSITORY, Daemon
from tests.system.wire import call

CGROUPS = Path("/sys/fs/cgroup")
GROUP = CGROUPS / "system.slice/creched.service"
_COMMANDS = ("creched", "crechectl")
_FILES = {
    "creched.service": Path("/etc/systemd/system/creched.service"),
    "creche.sysusers.conf": Path("/etc/sysusers.d/creche.conf"),
    "creche.tmpfiles.conf": Path("/etc/tmpfiles.d/creche.conf"),
}


class Service(Daemon):
    """The service's daemon; systemd starts and ends it."""

    @property
    def socket(self) -> Path:
        return Path("/run/creche/creche.sock")

    @property
    def units_dir(self) -> Path:
        return Path("/etc/creche/containers.d")

    def start(self) -> None:
        """Start it, and wait until it answers: it does not tell systemd so."""
        self.systemctl("start", "creched")
        until(self.answers)

    def restart(self) -> None:
        """The same for what runs."""
        self.systemctl("restart", "creched")
        until(self.answers)

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl, which must succeed."""
        return command("systemctl", *arguments)

    def property(self, name: str) -> str:
        """What systemd knows of the service."""
        return self.systemctl("show", "--value", "-p", name, "creched").strip()

    def pid_of(self, container: str) -> int:
        shown = self.docker("inspect", "-f", "{{.State.Pid}}", container, check=True)
        return int(shown.stdout)

    def states(self) -> dict[str, str]:
        """The state of each process that supervisor's clients see."""
        found = call(self, "supervisor.getAllProcessInfo")
        return {one["name"]: one["statename"] for one in found}

    def answers(self) -> bool:
        return self.socket.exists() and self.docker("version").returncode == 0


def command(*words: str) -> str:
    """Run a program, which must succeed; its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def until(holds: Callable[[], object]) -> None:
    """Wait for what no descriptor of ours tells of."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def group_of(pid: int) -> Path:
    """The control group of a process."""
    own = Path(f"/proc/{pid}/cgroup").read_text().partition("0::/")[2].strip()
    return CGROUPS / own


def limits_in(group: Path) -> tuple[str, ...]:
    """What a group's files say of memory, processes, and the share of a processor."""
    names = ("memory.max", "pids.max", "cpu.max")
    return tuple((group / name).read_text().strip() for name in names)


@contextlib.contextmanager
def installed() -> Iterator[Service]:
    """The files of a package where a package puts them; afterwards nothing is there any more."""
    service = Service(Path("/run/creche"), "/creche")
    for name, path in _FILES.items():
        path.parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / "units" / name, path)
    for name in _COMMANDS:
        (Path("/usr/bin") / name).symlink_to(Path(sys.prefix) / "bin" / name)
    command("systemd-sysusers", str(_FILES["creche.sysusers.conf"]))
    command("systemd-tmpfiles", "--create", str(_FILES["creche.tmpfiles.conf"]))
    service.systemctl("daemon-reload")
    try:
        yield service
    finally:
        service.systemctl("stop", "creched")
        for name in _COMMANDS:
            (Path("/usr/bin") / name).unlink()
        for path in _FILES.values():
            path.unlink()
        service.systemctl("daemon-reload")
        command("groupdel", "creche")
        for directory in ("/etc/creche", "/var/lib/creche"):
            shutil.rmtree(directory)
    assert not GROUP.exists()
    assert not service.socket.exists()
