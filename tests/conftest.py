"""What holds for the whole suite: it leaves the host as it was."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import hypothesis
import pytest

# what only the guest of contrib/vm can show; it says that it is that
collect_ignore = [] if "CRECHE_VM" in os.environ else ["vm"]
# a machine that is busy, or emulated, is no reason to fail
hypothesis.settings.register_profile("creche", deadline=None)
hypothesis.settings.load_profile("creche")

# whoever starts the suite in the background of a shell has it ignore this, and all that it starts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SETTLE_S = 10.0  # this machine's PID 1 may reap late


def _host() -> dict[str, set[str]]:
    """Mounts, control groups, network devices, and namespaces with processes of ours in them."""
    top = Path("/sys/fs/cgroup")  # of v2, or with the directories of v1's controllers
    groups = {str(p) for pattern in ("*creche*", "*/*creche*") for p in top.glob(pattern)}
    return {
        "mounts": set(Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": groups,
        "devices": set(os.listdir("/sys/class/net"))
        | {str(p) for p in Path("/sys/block").glob("loop*/loop/backing_file")},
        "namespaces": _namespaces(),
        "processes": _processes(),
    }


def _processes() -> set[str]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if name == "creche-keeper" or "supervisor.daemon" in command or "creched" in command:
            found.add(f"{process.name} {name} {command}")
    return found


def _namespaces() -> set[str]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
            try:
                found.add(os.readlink(process / "ns" / kind))
            except OSError:
                continue
    return found


_BEFORE = pytest.StashKey[dict[str, set[str]]]()
_LEFT = pytest.StashKey[dict[str, set[str]]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember the host; of several processes the first, which starts and outlives the others."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[_BEFORE] = _host()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After the last test the host must have nothing more than before the first."""
    before = session.config.stash.get(_BEFORE, None)
    if before is None:
        return
    end = time.monotonic() + _SETTLE_S
    while left := {k: now - before[k] for k, now in _host().items() if now - before[k]}:
        if time.monotonic() > end:
            session.config.stash[_LEFT] = left
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            return
        time.sleep(0.1)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell what is left on the host, which fails the whole run."""
    for kind, what in config.stash.get(_LEFT, {}).items():
        terminalreporter.section(f"left on the host: {kind}", red=True)
        for one in sorted(what):
            terminalreporter.line(one)
