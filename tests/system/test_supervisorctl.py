"""Units, by the real supervisorctl."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.daemon import PATIENCE_S, Daemon
from tests.system.terminal import Terminal
from tests.system.wire import call, update

pytestmark = pytest.mark.same_everywhere

UNITS = """
[container.db]
image = "busybox"
command = ["sh", "-c", "echo db up; trap 'echo db bye; exit 0' TERM; while :; do sleep 0.1; done"]
ready = { after_s = 0.3 }
[container.web]
image = "busybox"
command = "sh -c 'echo web up; echo web err >&2; while :; do sleep 0.1; done'"
group = "shop"
replicas = 2
requires = ["db"]
ready = { after_s = 0.3 }
stop = { grace_s = 0.2 }
restart = { delay_min_s = 1.5, jitter = 0.0 }
"""


@pytest.fixture(autouse=True)
def units(creched: Daemon) -> Iterator[None]:
    """The units above, active and running; none afterwards."""
    (creched.units_dir / "shop.toml").write_text(UNITS)
    update(creched)
    until(creched, lambda states: set(states.values()) == {"RUNNING"} and len(states) == 3)
    yield
    for file in creched.units_dir.iterdir():
        file.unlink()
    update(creched)


def states(creched: Daemon) -> dict[str, str]:
    """Of every process; by the socket itself, for a client may take longer than a state lasts."""
    found = call(creched, "supervisor.getAllProcessInfo")
    names = ((one["group"], one["name"], one["statename"]) for one in found)
    return {n if n == g else f"{g}:{n}": state for g, n, state in names}


def until(creched: Daemon, holds: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds(found := states(creched)):  # type: ignore[operator]
        assert time.monotonic() < end, found
        time.sleep(0.05)


def test_status_lists_processes_by_group_and_ends_with_supervisors_codes(creched: Daemon) -> None:
    shown = creched.supervisorctl("status")
    assert shown.returncode == 0
    assert re.fullmatch(
        r"db +RUNNING +pid \d+, uptime 0:00:\d\d\n"
        r"shop:web_00 +RUNNING +pid \d+, uptime 0:00:\d\d\n"
        r"shop:web_01 +RUNNING +pid \d+, uptime 0:00:\d\d\n",
        shown.stdout,
    )
    assert creched.supervisorctl("status", "nope").returncode == 4
    creched.supervisorctl("stop", "shop:web_00", check=True)
    assert creched.supervisorctl("status").returncode == 3


def test_stopping_what_is_required_stops_what_requires_it_first(creched: Daemon) -> None:
    assert creched.supervisorctl("stop", "db", check=True).stdout == "db: stopped\n"
    assert set(states(creched).values()) == {"STOPPED"}


def test_starting_a_group_starts_what_it_requires(creched: Daemon) -> None:
    creched.supervisorctl("stop", "db", check=True)
    started = creched.supervisorctl("start", "shop:*", check=True).stdout
    assert sorted(started.splitlines()) == ["shop:web_00: started", "shop:web_01: started"]
    assert set(states(creched).values()) == {"RUNNING"}


def test_restart_signal_pid_and_version(creched: Daemon) -> None:
    before = creched.supervisorctl("pid", "db", check=True).stdout
    restarted = creched.supervisorctl("restart", "db", check=True).stdout
    assert restarted == "db: stopped\ndb: started\n"
    assert creched.supervisorctl("pid", "db", check=True).stdout != before
    assert creched.supervisorctl("signal", "URG", "db").stdout == "db: signalled\n"
    assert "bad signal name" in creched.supervisorctl("signal", "NOPE", "db").stdout
    assert creched.supervisorctl("version", check=True).stdout.strip() == "0.1.0"
    assert int(creched.supervisorctl("pid", check=True).stdout) == creched.process.pid  # type: ignore[union-attr]


def test_a_process_that_dies_comes_back(creched: Daemon) -> None:
    before = creched.supervisorctl("pid", "shop:web_00", check=True).stdout
    creched.supervisorctl("signal", "KILL", "shop:web_00", check=True)
    until(creched, lambda now: now["shop:web_00"] == "BACKOFF")
    until(creched, lambda now: now["shop:web_00"] == "RUNNING")
    assert creched.supervisorctl("pid", "shop:web_00", check=True).stdout != before


def test_tail_reads_each_stream_and_follows(creched: Daemon) -> None:
    assert "db up\n" in creched.supervisorctl("tail", "db", check=True).stdout
    assert "web err\n" in creched.supervisorctl("tail", "shop:web_00", "stderr", check=True).stdout
    assert creched.supervisorctl("tail", "-4", "db", check=True).stdout.strip() == "up"


def test_reread_and_update_apply_what_has_changed(creched: Daemon) -> None:
    file = creched.units_dir / "shop.toml"
    file.write_text(UNITS.replace("replicas = 2", "replicas = 1"))
    assert creched.supervisorctl("reread", check=True).stdout == "shop: changed\n"
    updated = creched.supervisorctl("update", check=True).stdout
    assert updated == "shop: stopped\nshop: updated process group\n"
    until(creched, lambda now: now == {"db": "RUNNING", "shop:web": "RUNNING"})
    assert "shop:web" in creched.supervisorctl("avail", check=True).stdout


def test_a_wrong_unit_file_is_told_with_file_line_and_key(creched: Daemon) -> None:
    (creched.units_dir / "wrong.toml").write_text('[container.xx]\nimage = "a"\ncomand = "b"\n')
    shown = creched.supervisorctl("reread")
    assert "wrong.toml:3: container.xx.comand: unknown key" in shown.stdout
    assert 'did you mean "command"?' in shown.stdout


def test_a_group_that_cannot_be_made_is_told_why_and_leaves_nothing(creched: Daemon) -> None:
    (creched.units_dir / "wrong.toml").write_text('[container.noimage]\nimage = "nosuch:1"\n')
    creched.docker("create", "--name", "half_01", "busybox", check=True)
    (creched.units_dir / "half.toml").write_text(
        '[container.half]\nimage = "busybox"\nreplicas = 2\n'
    )
    creched.supervisorctl("reread", check=True)
    said = "unit noimage: No such image: nosuch:1: load it with `crechectl load` or `import`"
    assert said in creched.supervisorctl("add", "noimage").stdout
    assert f"noimage: ERROR ({said})" in creched.crechectl("add", "noimage").stderr
    shown = creched.crechectl("update")
    assert shown.returncode == 1
    assert said in shown.stderr
    assert 'unit half_01: Conflict. The container name "/half_01"' in shown.stderr
    assert "half_00" not in creched.docker("ps", "-a", "--format", "{{.Names}}").stdout
    creched.docker("rm", "half_01", check=True)
    for name in ("wrong", "half"):
        (creched.units_dir / f"{name}.toml").unlink()
    creched.supervisorctl("update", check=True)


def test_units_and_containers_are_seen_by_both_clients(creched: Daemon) -> None:
    creched.docker("run", "-d", "--name", "byhand", "busybox", "sleep", "100", check=True)
    assert states(creched)["byhand"] == "RUNNING"
    assert "web_00" in creched.docker("ps", "--format", "{{.Names}}", check=True).stdout
    creched.docker("rm", "-f", "byhand", check=True)


def test_failures_have_supervisors_faults(creched: Daemon) -> None:
    for arguments, words in (
        (["start", "db"], "db: ERROR (already started)"),
        (["start", "nope"], "nope: ERROR (no such process)"),
        (["start", "nope:*"], "nope: ERROR (no such group)"),
        (["remove", "db"], "ERROR: process/group still running: db"),
        (["add", "db"], "ERROR: process group already active"),
    ):
        assert words in creched.supervisorctl(*arguments).stdout, arguments
    (creched.units_dir / "bad.toml").write_text(
        '[container.bad]\nimage = "busybox"\ncommand = "nope"\nautostart = false\n'
    )
    creched.supervisorctl("update", check=True)
    failed = creched.supervisorctl("start", "bad")
    assert "bad: ERROR (no such file)" in failed.stdout


def test_tail_f_shows_the_end_of_the_log_and_what_comes(creched: Daemon, tmp_path: Path) -> None:
    command = ["/usr/bin/supervisorctl", "-s", f"unix://{creched.socket}", "tail", "-f", "db"]
    shown = tmp_path / "shown"
    with (
        open(shown, "wb") as out,
        subprocess.Popen(command, stdout=out, env={"PYTHONUNBUFFERED": "1"}) as follower,
    ):
        try:
            _until_shown(shown, "db up\n")
            creched.supervisorctl("restart", "db", check=True)
            _until_shown(shown, "db bye\ndb up\n")
        finally:
            follower.kill()


def _until_shown(file: Path, text: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while text not in file.read_text():
        assert time.monotonic() < end, file.read_text()
        time.sleep(0.05)


def test_shutdown_ends_the_daemon(fresh_creched: Daemon) -> None:
    fresh_creched.docker("run", "-d", "--stop-timeout", "0", "busybox", "sleep", "100", check=True)
    assert fresh_creched.supervisorctl("shutdown").stdout == "Shut down\n"
    assert fresh_creched.process is not None
    assert fresh_creched.process.wait(PATIENCE_S) == 0
    assert not fresh_creched.socket.exists()


FOREGROUND = """
[container.reader]
image = "busybox"
command = ["sh", "-c", "echo ready; while read line; do echo got $line; done; echo eof"]
stdin = true
ready = { after_s = 0.1 }
stop = { grace_s = 0 }
"""


def test_fg_passes_lines_on_and_shows_the_answers(creched: Daemon) -> None:
    (creched.units_dir / "reader.toml").write_text(FOREGROUND)
    creched.supervisorctl("update", check=True)
    until(creched, lambda states: states.get("reader") == "RUNNING")
    command = ["/usr/bin/supervisorctl", "-s", f"unix://{creched.socket}", "fg", "reader"]
    with Terminal(command, {"PATH": "/usr/bin:/bin"}) as terminal:
        terminal.until("ready")
        terminal.type("one\r")
        terminal.until("got one")
        terminal.type("two\r")
        terminal.until("got two")
        terminal.type("\x03")
        terminal.until("Exiting foreground")  # it ends at the next output only, supervisord's too
    assert states(creched)["reader"] == "RUNNING"
