"""A daemon of an ordinary user whom this host knows only in a mount namespace of the daemon's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.system.daemon import REPOSITORY, Daemon

UID = 54_321
FIRST_ID = 1_950_000_000
_IDS = 65_536
_PATIENCE_S = 240.0  # then it hangs
# The user is in files of our own, bound over the host's; an interpreter in a private directory is
# shown at the same place in one that is open.
_ENTER = """
for name in passwd subuid subgid; do mount --bind "$1/$name" /etc/$name; done
if [ -n "$3" ]; then
    mount --bind "$2" "$1/python"
    mount -t tmpfs -o mode=755 tmpfs "$3"
    mkdir -p "$2"
    mount --move "$1/python" "$2"
fi
cd /; shift 3; exec "$@"
"""


class RootlessDaemon(Daemon):
    """As `Daemon`, and its clients are the same user's."""

    group: Path | None = None  # the control group in which it starts

    def prepare(self) -> None:
        """Make what it needs before its first start."""
        etc = self.directory / "etc"
        (etc / "python").mkdir(parents=True)
        passwd = Path("/etc/passwd").read_text()
        home = self.directory / "home"
        (etc / "passwd").write_text(f"{passwd}nurse:x:{UID}:{UID}::{home}:/bin/sh\n")
        for name in ("subuid", "subgid"):
            (etc / name).write_text(f"nurse:{FIRST_ID}:{_IDS}\n")
        for directory in (self.directory, home, self.units_dir):
            directory.mkdir(exist_ok=True)
            os.chown(directory, UID, UID)

    def _before(self) -> list[str]:
        enter = ["unshare", "-m", "--propagation", "private", "sh", "-ec", _ENTER, "-"]
        directory, closed = _interpreters_directory()
        if self.group is not None:
            join = f'echo $$ >{self.group}/cgroup.procs; exec "$@"'
            enter = ["sh", "-ec", join, "-", *enter]
        return [*enter, str(self.directory / "etc"), directory, closed, *self.as_user()]

    def as_user(self) -> list[str]:
        """What to call a program with."""
        home = f"HOME={self.directory / 'home'}"
        ids = ["--reuid", str(UID), "--regid", str(UID), "--clear-groups"]
        return ["setpriv", *ids, "env", home, f"PYTHONPATH={REPOSITORY}"]

    def docker(
        self,
        *arguments: str | Path,
        input: str | None = None,
        check: bool = False,
        binary: str = "docker",
        api: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run the real docker client as the user."""
        own = [f"DOCKER_HOST=unix://{self.socket}", binary, *map(str, arguments)]
        done = subprocess.run(
            [*self.as_user(), *own],
            input=input, stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True, text=True, timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr}\n{self.log}"
        return done

    def load_image(self) -> None:
        """Load an image of the host's busybox."""
        image = self.directory / "image.tar"
        maker = REPOSITORY / "contrib" / "busybox_image.py"
        subprocess.run([sys.executable, maker, image], check=True)
        self.docker("load", "-i", image, check=True)

    def doctor(self) -> str:
        """What `creched --doctor` prints for the user."""
        done = self.call("--doctor", "--root", str(self.directory / "home/new"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def restart_itself(self) -> None:
        """Ask it to start anew in its own process, and wait until it answers."""
        before = self.log.count("daemon.ready")
        control = [
            "env",
            "-u",
            "PYTHONPATH",
            "/usr/bin/supervisorctl",
            "-s",
            f"unix://{self.socket}",
            "reload",
        ]
        subprocess.run(
            [*self.as_user(), *control], check=True, capture_output=True, timeout=_PATIENCE_S
        )
        end = time.monotonic() + _PATIENCE_S
        while self.log.count("daemon.ready") == before:
            assert time.monotonic() < end, self.log
            time.sleep(0.02)

    def call(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run another creched to its end."""
        command = [*self._before(), sys.executable, "-m", "supervisor.daemon", *options]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )


def _interpreters_directory() -> tuple[str, str]:
    """Where the interpreter is, and the private directory above it, if there is one."""
    prefix = Path(sys.base_prefix).resolve()
    closed = [path for path in reversed(prefix.parents) if not path.stat().st_mode & 0o001]
    return str(prefix), str(closed[0]) if closed else ""
