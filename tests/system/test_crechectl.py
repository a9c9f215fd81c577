"""crechectl against a real daemon."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.daemon import REPOSITORY, Daemon
from tests.system.docker import until
from tests.system.wire import update

pytestmark = pytest.mark.same_everywhere

_UNIT = """
[container.{name}]
image = "busybox"
command = ["sh", "-c", "trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done"]
group = "shop"
ready = {{ after_s = 0.1 }}
"""


@pytest.fixture
def units(creched: Daemon) -> Iterator[Daemon]:
    """The daemon with the units `aa` and `bb` of the group `shop`, read and running."""
    for name in ("aa", "bb"):
        (creched.units_dir / f"{name}.toml").write_text(_UNIT.format(name=name))
    assert creched.crechectl("update", check=True).stdout == "shop: added\n"
    assert creched.crechectl("start", "all").returncode == 0
    until(lambda: "STARTING" not in creched.crechectl("status").stdout)  # they start by themselves
    yield creched
    for file in creched.units_dir.iterdir():
        file.unlink()
    update(creched)


def _started(daemon: Daemon, *arguments: str) -> subprocess.Popen[bytes]:
    """A crechectl that goes on, with its output in a pipe."""
    command = [sys.executable, "-m", "supervisor.cli.main", "-s", str(daemon.socket), *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)


def test_run_passes_streams_and_the_exit_code_on(creched: Daemon) -> None:
    done = creched.crechectl("run", "--rm", "busybox", "sh", "-c", "echo o; echo e >&2; exit 6")
    assert (done.stdout, done.stderr, done.returncode) == ("o\n", "e\n", 6)
    fed = creched.crechectl("run", "--rm", "-i", "busybox", "cat", input="text")
    assert fed.stdout == "text"


def test_run_ends_with_127_126_and_125_as_docker_does(creched: Daemon) -> None:
    missing = creched.crechectl("run", "--rm", "busybox", "nope")
    assert missing.returncode == 127
    assert missing.stderr.startswith("crechectl: error: ")
    assert missing.stderr.count("\n") == 1
    assert creched.crechectl("run", "--rm", "busybox", "/etc/passwd").returncode == 126
    assert creched.crechectl("run", "no-such-image").returncode == 125
    assert creched.crechectl("run", "--no-such-option", "busybox").returncode == 125


def test_the_options_of_run_reach_the_container(creched: Daemon, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("from the host\n")
    (tmp_path / "env").write_text("FROM_FILE=2\n")
    options = [
        *("--rm", "-e", "GIVEN=1", "--env-file", str(tmp_path / "env"), "-h", "here", "-w", "/tmp"),
        *("-v", f"{tmp_path}:/host:ro", "--tmpfs", "/t:size=1m", "-u", "1000", "--read-only"),
        *("-m", "64m", "--pids-limit", "50", "--label", "a=b", "--entrypoint", "sh"),
    ]
    script = "echo $GIVEN $FROM_FILE $(hostname) $(pwd) $(id -u); cat /host/file; touch /x || true"
    done = creched.crechectl("run", *options, "busybox", "-c", script)
    assert done.stdout == "1 2 here /tmp 1000\nfrom the host\n"
    assert "Read-only file system" in done.stderr


def test_a_signal_to_run_reaches_the_container(creched: Daemon) -> None:
    script = "trap 'echo caught; exit 9' INT; echo ready; while true; do sleep 0.1; done"
    runner = _started(creched, "run", "--rm", "busybox", "sh", "-c", script)
    assert runner.stdout is not None
    with runner.stdout as output:
        assert output.readline() == b"ready\n"
        runner.send_signal(signal.SIGINT)
        assert output.read() == b"caught\n"
    assert runner.wait() == 9


def test_attach_joins_a_running_container(creched: Daemon) -> None:
    script = "read line; echo got $line; exit 4"
    creched.crechectl("run", "-di", "--name", "joined", "busybox", "sh", "-c", script, check=True)
    done = creched.crechectl("attach", "joined", input="words\n")
    assert (done.stdout, done.returncode) == ("got words\n", 4)
    again = creched.crechectl("attach", "joined")
    assert (again.returncode, "is not running" in again.stderr) == (1, True)
    creched.crechectl("rm", "joined", check=True)


def test_a_container_is_seen_renamed_stopped_and_removed(creched: Daemon) -> None:
    script = "echo one; echo two; sleep 100"
    made = creched.crechectl("run", "-d", "--name", "seen", "busybox", "sh", "-c", script)
    container_id = made.stdout.strip()
    assert creched.crechectl("ps", "-q", "--no-trunc").stdout.split() == [container_id]
    assert json.loads(creched.crechectl("ps", "--json").stdout)[0]["Names"] == ["/seen"]
    assert json.loads(creched.crechectl("inspect", "seen").stdout)[0]["Id"] == container_id
    creched.crechectl("rename", "seen", "other", check=True)
    assert creched.crechectl("logs", "--tail", "1", "other", check=True).stdout == "two\n"
    assert creched.crechectl("stop", "-t", "0", container_id[:8]).returncode == 0
    assert creched.crechectl("wait", "other").stdout == "137\n"
    assert creched.crechectl("rm", "other", "gone").returncode == 1
    assert creched.crechectl("ps", "-aq").stdout == ""


def test_images_are_listed_tagged_exported_and_removed(creched: Daemon, tmp_path: Path) -> None:
    creched.crechectl("tag", "busybox", "copy:2", check=True)
    named = json.loads(creched.crechectl("images", "--json", check=True).stdout)
    assert {name for image in named for name in image["RepoTags"]} == {"busybox:latest", "copy:2"}
    assert creched.crechectl("rmi", "copy:2", check=True).stdout == "Untagged: copy:2\n"
    (tmp_path / "motd").write_text("hello")
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", tmp_path, "-cf", archive, "motd"], check=True)
    image_id = creched.crechectl("import", archive, "root:1", check=True).stdout.strip()
    assert json.loads(creched.crechectl("inspect", "root:1").stdout)[0]["Id"] == image_id
    creched.crechectl("rmi", "root:1", check=True)
    assert creched.crechectl("load", input="no archive").returncode == 1


def test_events_are_told_as_they_happen(creched: Daemon) -> None:
    watcher = _started(creched, "events", "--json", "--filter", "type=container", "--since", "1m")
    creched.crechectl("run", "--rm", "--name", "eventful", "busybox", "true", check=True)
    actions: list[str] = []
    assert watcher.stdout is not None
    with watcher.stdout as output:
        for line in output:
            event = json.loads(line)
            if event["Actor"]["Attributes"].get("name") == "eventful":
                actions.append(event["Action"])
            if event["Action"] == "destroy" and actions:
                break
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait() == 130
    assert [a for a in actions if a != "attach"] == ["create", "start", "die", "destroy"]


def test_units_are_shown_stopped_started_and_signalled(units: Daemon) -> None:
    shown = units.crechectl("status")
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [
        ["shop:aa", "RUNNING"],
        ["shop:bb", "RUNNING"],
    ]
    assert shown.returncode == 0
    stopped = units.crechectl("stop", "shop:aa", check=True)
    assert stopped.stdout == "shop:aa: stopped\n"
    again = units.crechectl("stop", "shop:aa")
    assert (again.stderr, again.returncode) == ("shop:aa: ERROR (not running)\n", 0)
    assert units.crechectl("status", "shop:*").returncode == 3
    assert units.crechectl("status", "gone").returncode == 4
    started = units.crechectl("restart", "shop:*", check=True)
    assert "shop:aa: started\n" in started.stdout
    assert units.crechectl("signal", "HUP", "shop:bb").stdout == "shop:bb: signalled\n"
    assert int(units.crechectl("pid", check=True).stdout) > 1
    assert units.crechectl("tail", "-3", "shop:aa", check=True).stdout == "up\n"
    available = json.loads(units.crechectl("avail", "--json", check=True).stdout)
    assert [(p["group"], p["name"]) for p in available] == [("shop", "aa"), ("shop", "bb")]


def test_changed_and_removed_units_are_updated(units: Daemon) -> None:
    (units.units_dir / "bb.toml").unlink()
    assert units.crechectl("reread", check=True).stdout == "shop: changed\n"
    lines = units.crechectl("update", check=True).stdout.splitlines()
    assert lines == ["shop:aa: stopped", "shop:bb: stopped", "shop: removed", "shop: added"]
    (units.units_dir / "aa.toml").write_text("[container.aa]\nimge = 'x'\n")
    wrong = units.crechectl("reread")
    assert wrong.returncode == 1
    assert "aa.toml:2: container.aa.imge" in wrong.stderr


def test_tail_f_shows_what_is_written_later(units: Daemon) -> None:
    tail = _started(units, "tail", "-f", "shop:aa")
    assert tail.stdout is not None
    with tail.stdout as output:
        assert output.readline() == b"up\n"
        units.crechectl("restart", "shop:aa", check=True)
        assert output.readline() == b"up\n"
        tail.send_signal(signal.SIGINT)
    assert tail.wait() == 130


def test_info_and_version_are_told(creched: Daemon) -> None:
    assert "Storage: " in creched.crechectl("info", check=True).stdout
    server = json.loads(creched.crechectl("version", "--json", check=True).stdout)["Server"]
    assert server["ApiVersion"] == "1.50"


def test_doctor_tries_every_driver(creched: Daemon) -> None:
    done = creched.crechectl("doctor", "--json", check=True)
    report = json.loads(done.stdout)
    tried = {(f["kind"], f["name"]): f["works"] for f in report["findings"]}
    drivers = {
        *(("execution", "native"), ("storage", "overlay"), ("storage", "vfs")),
        *(("log", "json-file"), ("log", "none"), ("network", "none"), ("network", "host")),
    }
    assert {driver for driver, works in tried.items() if works} >= drivers


def test_doctor_works_without_a_daemon() -> None:
    command = [sys.executable, "-m", "supervisor.cli.main", "-s", "/nowhere", "doctor"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "execution   native" in done.stdout


def test_shutdown_ends_the_daemon(fresh_creched: Daemon) -> None:
    assert fresh_creched.crechectl("shutdown", check=True).stdout == "shut down\n"
    assert fresh_creched.process is not None
    assert fresh_creched.process.wait(30) == 0


def test_a_terminal_is_shown_colours(creched: Daemon) -> None:
    creched.crechectl("run", "-d", "--name", "coloured", "busybox", "sleep", "100", check=True)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "supervisor.cli.main", "-s", str(creched.socket), "status"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with os.fdopen(ours, "rb", buffering=0) as screen:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=theirs, env=environment, check=False)
        os.close(theirs)
        shown = screen.read(65536)
    assert done.returncode == 0
    assert b"coloured" in shown
    assert b"\x1b[32mRUNNING" in shown
    creched.crechectl("rm", "-f", "coloured", check=True)
