"""The daemon's own life: starting, ending, being killed, being started wrongly."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host import Host
from tests.system.daemon import PATIENCE_S, REPOSITORY, Daemon


def creched_fails(*options: str | Path) -> str:
    """What creched says when it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.daemon", *map(str, options)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_terminating_the_daemon_stops_everything_and_leaves_nothing(
    fresh_creched: Daemon,
) -> None:
    kill = ("--stop-signal", "KILL")
    fresh_creched.docker("run", "-d", *kill, "busybox", "sleep", "1000", check=True)
    fresh_creched.docker(
        "run", "-d", "--stop-timeout", "0", "busybox", "sh", "-c", "trap '' TERM; sleep 1000"
    )
    before = Host(fresh_creched.cgroup_parent, fresh_creched.directory)
    assert fresh_creched.stop() == 0
    assert before.left_over() == {}
    assert not fresh_creched.socket.exists()


def test_containers_images_and_logs_are_there_after_a_restart(fresh_creched: Daemon) -> None:
    fresh_creched.docker("run", "--name", "kept", "busybox", "sh", "-c", "echo out; exit 3")
    fresh_creched.docker(
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        "--stop-timeout",
        "0",
        "busybox",
        "sleep",
        "1000",
        check=True,
    )
    fresh_creched.stop()
    fresh_creched.start()
    shown = fresh_creched.docker("inspect", "-f", "{{.State.ExitCode}}", "kept", check=True)
    assert shown.stdout == "3\n"
    assert fresh_creched.docker("logs", "kept", check=True).stdout == "out\n"
    running = fresh_creched.docker("ps", "--format", "{{.Names}}", check=True).stdout
    assert running == "always\n"


def test_a_killed_daemon_leaves_no_process_and_the_next_start_cleans_the_rest(
    fresh_creched: Daemon,
) -> None:
    lost = ("--name", "lost", "--stop-signal", "KILL")
    fresh_creched.docker("run", "-d", *lost, "busybox", "sleep", "1000", check=True)
    pid = int(fresh_creched.docker("inspect", "-f", "{{.State.Pid}}", "lost", check=True).stdout)
    container = os.pidfd_open(pid)
    fresh_creched.stop(signal.SIGKILL)
    assert select.select([container], [], [], PATIENCE_S)[0], "the container outlived its keeper"
    os.close(container)
    fresh_creched.start()
    state = fresh_creched.docker("inspect", "-f", "{{.State.Status}}", "lost", check=True).stdout
    assert state == "exited\n"
    fresh_creched.docker("start", "lost", check=True)


@pytest.mark.same_everywhere
def test_a_second_daemon_is_refused_by_name(creched: Daemon, tmp_path: Path) -> None:
    said = creched_fails("--root", creched.directory / "root", "--run-dir", tmp_path / "run")
    assert "is in use by another daemon" in said
    said = creched_fails("--root", tmp_path / "root", "--run-dir", creched.directory / "run")
    assert "a daemon listens there already" in said


@pytest.mark.same_everywhere
def test_a_stale_socket_is_replaced(fresh_creched: Daemon) -> None:
    fresh_creched.stop(signal.SIGKILL)
    assert fresh_creched.socket.exists()
    fresh_creched.start()
    assert fresh_creched.docker("version").returncode == 0


@pytest.mark.same_everywhere
@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_root_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """ATTACKS 30."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(mode)
    said = creched_fails("--root", root, "--run-dir", tmp_path / "run")
    assert f"{root} is open to others (mode {mode:o}" in said
    assert f"chmod 700 {root}" in said
    assert not list(root.iterdir())


@pytest.mark.same_everywhere
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_run_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """ATTACKS 30."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    run_dir.chmod(mode)
    said = creched_fails("--root", tmp_path / "root", "--run-dir", run_dir)
    assert f"chmod 755 {run_dir}" in said


@pytest.mark.same_everywhere
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    """ATTACKS 30."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    os.chown(root, 65534, 65534)
    said = creched_fails("--root", root, "--run-dir", tmp_path / "run")
    assert "owner 65534" in said


@pytest.mark.same_everywhere
def test_wrong_settings_are_told_with_the_nearest_right_one(tmp_path: Path) -> None:
    file = tmp_path / "creche.toml"
    file.write_text('root = "/x"\nstorage-drivr = "vfs"\n')
    said = creched_fails("--config", file)
    assert f'{file}:2: storage-drivr: unknown key, did you mean "storage-driver"?' in said
    here = ("--root", tmp_path / "root", "--run-dir", tmp_path / "run")
    assert "unknown storage driver 'vsf', did you mean 'vfs'?" in creched_fails(
        *here, "--storage-driver", "vsf"
    )


@pytest.mark.same_everywhere
def test_check_config_reads_settings_and_units(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[container.aa]\nimage = "x"\nrequires = ["bb"]\n')
    said = creched_fails("--check-config", "--units", tmp_path)
    assert "container.aa.requires: there is no unit 'bb'" in said


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--log-driver", "nope"], "unknown log driver 'nope'"),
        (["--exec-driver", "nativ"], "unknown execution driver 'nativ', did you mean 'native'?"),
        (["--storage-driver", "nope"], "unknown storage driver 'nope'"),
        (["--log-opt", "max-size=much"], "invalid size: 'much' for log opt max-size"),
    ],
)
def test_a_wrong_driver_is_told_before_the_start_and_at_it(
    tmp_path: Path, options: list[str], said: str
) -> None:
    here = ("--root", tmp_path / "root", "--run-dir", tmp_path / "run", "--units", tmp_path)
    assert said in creched_fails(*here, *options, "--check-config")
    assert said in creched_fails(*here, *options)


@pytest.mark.same_everywhere
def test_the_log_of_a_unit_is_checked_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[container.aa]\nimage = "x"\nlog = [{ driver = "nope" }]\n')
    said = creched_fails("--check-config", "--units", tmp_path)
    assert f"{file}:3: container.aa.log: unknown log driver 'nope'" in said


@pytest.mark.same_everywhere
def test_data_of_another_storage_driver_is_not_ignored(fresh_creched: Daemon) -> None:
    fresh_creched.stop()
    root, run_dir = fresh_creched.directory / "root", fresh_creched.directory / "run"
    said = creched_fails("--root", root, "--run-dir", run_dir, "--storage-driver", "vfs")
    assert "holds data of 'overlay'" in said


@pytest.mark.same_everywhere
def test_a_wrong_unit_file_at_the_start_keeps_nothing_from_starting(
    fresh_creched: Daemon,
) -> None:
    unit = '[container.aa]\nimage = "busybox"\ncommand = "sleep 1000"\nstop = { grace_s = 0 }\n'
    (fresh_creched.units_dir / "a.toml").write_text(unit)
    fresh_creched.supervisorctl("update", check=True)
    fresh_creched.stop()
    (fresh_creched.units_dir / "b.toml").write_text('[container.bb]\nimge = "busybox"\n')
    fresh_creched.start()
    assert "b.toml:2: container.bb.imge: unknown key" in fresh_creched.log
    while "STARTING" in (status := fresh_creched.supervisorctl("status", "aa").stdout):
        pass
    assert "RUNNING" in status


@pytest.mark.same_everywhere
def test_hanging_up_reads_the_units_again(fresh_creched: Daemon) -> None:
    (fresh_creched.units_dir / "a.toml").write_text('[container.aa]\nimage = "busybox"\n')
    assert fresh_creched.process is not None
    fresh_creched.process.send_signal(signal.SIGHUP)
    while "units.reread" not in fresh_creched.log:
        assert fresh_creched.process.poll() is None
    assert "avail" in fresh_creched.supervisorctl("avail", check=True).stdout
