"""The demo itself; `contrib/demo.sh` sets up and starts it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_UNITS = """\
[container.clock]
image = "busybox"
command = ["sh", "-c", "while :; do date; sleep 1; done"]
stop = { grace_s = 1 }
ready = { after_s = 0.5 }

[container.reader]
image = "busybox"
command = ["sh", "-c", "echo started after clock was ready; while :; do sleep 1; done"]
requires = ["clock"]
stop = { grace_s = 1 }
ready = { after_s = 0.5 }
restart = { policy = "always", delay_min_s = 1.0, jitter = 0.0 }
"""


class Host:
    """What the demo could leave behind on this host, counted."""

    def __init__(self, cgroup_parent: str, daemon_root: Path) -> None:
        self._parent = cgroup_parent.strip("/")
        self._root = str(daemon_root)
        self._namespaces: set[str] = set()

    def left_over(self) -> dict[str, int]:
        """Mounts, control groups, namespaces and processes that are the demo's."""
        mounts = Path("/proc/self/mountinfo").read_text()
        groups = list(Path("/sys/fs/cgroup").glob(f"**/{self._parent}*"))
        processes = _other_processes()
        ours = [p for p in processes if self._is_ours(p)]
        own = self._namespaces | _namespaces(ours) - _namespaces([Path("/proc/self")])
        return {
            "mounts": sum(self._root in line for line in mounts.splitlines()),
            "cgroups": len(groups),
            "namespaces": len(_namespaces(processes) & own),
            "processes": len(ours),
        }

    def note_namespaces(self) -> None:
        """Remember the namespaces that daemon and containers have made, while they run."""
        ours = [p for p in _other_processes() if self._is_ours(p)]
        self._namespaces = _namespaces(ours) - _namespaces([Path("/proc/self")])

    def _is_ours(self, process: Path) -> bool:
        try:
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            groups = (process / "cgroup").read_text()
        except OSError:
            return False
        return self._root in command or f"/{self._parent}" in groups


def _other_processes() -> list[Path]:
    return [p for p in Path("/proc").glob("[0-9]*") if p.name != str(os.getpid())]


def _namespaces(processes: list[Path]) -> set[str]:
    found = set()
    for process in processes:
        for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
            try:
                found.add(os.readlink(process / "ns" / name))
            except OSError:
                continue
    return found


def _say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


class Demo:
    """One private daemon, and crechectl for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "run" / "creche.sock"
        self.parent = f"/creche-demo-{os.getpid()}"
        (directory / "units").mkdir()
        self._bin = Path(sys.executable).parent

    def start(self) -> subprocess.Popen[bytes]:
        """Start creched and wait until it answers."""
        log = open(self.directory / "creched.log", "wb")  # noqa: SIM115  # the daemon's for its life
        daemon = subprocess.Popen(
            [
                self._bin / "creched",
                *("--root", self.directory / "root", "--run-dir", self.directory / "run"),
                *("--units", self.directory / "units", "--cgroup-parent", self.parent),
            ],
            stderr=log,
        )
        while not self.socket.exists():
            if daemon.poll() is not None:
                sys.exit((self.directory / "creched.log").read_text())
            time.sleep(0.05)
        return daemon

    def ctl(self, *arguments: str | Path, quiet: bool = False) -> str:
        """Run crechectl, showing the command and what it prints."""
        command = [self._bin / "crechectl", "-s", self.socket, *arguments]
        if not quiet:
            print(f"$ crechectl {shlex.join(map(str, arguments))}", flush=True)
            code = subprocess.run(command, check=False).returncode
            if code:
                print(f"(exit code {code})", flush=True)
            return ""
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def show(self) -> None:
        """The tour."""
        _say("An image of the host's static busybox, loaded")
        image = self.directory / "busybox.tar"
        maker = Path(__file__).with_name("busybox_image.py")
        subprocess.run([sys.executable, maker, image], check=True)
        self.ctl("load", "-i", image)
        _say("A container with both output streams, and its exit code")
        script = "echo to stdout; sleep 0.1; echo to stderr >&2; exit 3"
        self.ctl("run", "--rm", "busybox", "sh", "-c", script)
        _say("Two units; reader requires clock, and starts when clock is ready")
        (self.directory / "units" / "demo.toml").write_text(_UNITS)
        self.ctl("update")
        while "STARTING" in self.ctl("status", quiet=True):
            time.sleep(0.1)
        self.ctl("status")
        _say("A log, followed for three seconds")
        self._follow("clock", 3)
        _say("The main process of reader is killed: it comes back after its delay")
        os.kill(int(self.ctl("pid", "reader", quiet=True)), signal.SIGKILL)
        time.sleep(0.3)
        self.ctl("status", "reader")
        time.sleep(2)
        self.ctl("status", "reader")

    def _follow(self, name: str, seconds: float) -> None:
        print(f"$ crechectl logs -f {name}", flush=True)
        command = [self._bin / "crechectl", "-s", self.socket, "logs", "-f", name]
        follower = subprocess.Popen(command)
        time.sleep(seconds)
        follower.send_signal(signal.SIGINT)
        follower.wait()


def main() -> None:
    """Show it, end it, count."""
    directory = Path(tempfile.mkdtemp(prefix="creche-demo-"))
    demo = Demo(directory)
    host = Host(demo.parent, directory)
    daemon = demo.start()
    try:
        demo.show()
        host.note_namespaces()
        _say("The daemon is ended: containers stop in reverse order of what they require")
        print("$ kill -TERM <creched>", flush=True)
    finally:
        daemon.terminate()
        daemon.wait()
    left = host.left_over()
    shutil.rmtree(directory)
    _say("Left over on the host: " + ", ".join(f"{count} {what}" for what, count in left.items()))
    sys.exit(any(left.values()))


if __name__ == "__main__":
    main()
