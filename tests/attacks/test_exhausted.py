"""Nothing left of what the kernel gives: a clear error, nothing lost, and all well again later."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio

from drivers.errors import CrecheError, SpawnFailed
from drivers.execution.base import Pipes, Process, WindowSize
from drivers.execution.cgroup import detect
from drivers.execution.resources import Limits
from tests.conformance.harness_execution import TRUE, ClosesTerminal, Rig
from tests.native import Box, is_dead, open_box, open_native
from tests.oci import open_oci
from tests.rootfs import make_busybox_root
from tests.shortage import at_most_descriptors, limited, open_descriptors, without_threads
from tests.system.conftest import running_daemon
from tests.system.daemon import PATIENCE_S, Daemon
from tests.system.docker import state, until
from tests.system.rootless import UID, RootlessDaemon
from tests.system.test_rootless import creched as rootless
from tests.system.wire import Connection, ask

__all__ = ["rootless"]

TOO_MANY = "too many open files"
LIMIT = "LimitNOFILE"  # what to change
_COUNT = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"


def _daemon_pid(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


def _keeper_pid(daemon: Daemon) -> int:
    children = psutil.Process(_daemon_pid(daemon)).children()
    (keeper,) = [child for child in children if child.name() == "creche-keeper"]
    return int(keeper.pid)


def _counted(log: str) -> int:
    """How many lines `_COUNT` has written, of which none is missing and none is double."""
    numbers = [int(line.removeprefix("line ")) for line in log.splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)


@contextlib.contextmanager
def _idle_connections(daemon: Daemon, number: int) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        for _ in range(number):
            held.enter_context(socket.socket(socket.AF_UNIX)).connect(str(daemon.socket))
        yield


def _tell(connection: Connection, method: str, path: str, body: object = None) -> tuple[int, str]:
    """The status and the text of an answer on a connection that stays open."""
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def _fail_to_start(daemon: Daemon) -> str:
    """What a client is told who starts a container."""
    failed = daemon.docker("run", "--rm", "busybox", "true")
    assert failed.returncode == 125, failed
    return failed.stderr


def test_idle_connections_take_nothing_from_what_runs(fresh_creched: Daemon) -> None:
    """ATTACKS 43: descriptors of the daemon."""
    daemon = fresh_creched
    pid = _daemon_pid(daemon)
    daemon.docker("run", "-d", "--name", "counts", "busybox", "sh", "-c", _COUNT, check=True)
    ends = 'trap "exit 7" TERM; echo begun; while :; do sleep 0.02; done'
    daemon.docker("run", "-d", "--name", "ends", "busybox", "sh", "-c", ends, check=True)
    daemon.docker("create", "--name", "later", "busybox", "echo", "late", check=True)
    ours = Connection(daemon)
    assert _tell(ours, "GET", "/_ping") == (200, "OK")
    before = open_descriptors(pid)
    with at_most_descriptors(pid, 2 * before), _idle_connections(daemon, 2 * before):
        until(lambda: LIMIT in daemon.docker("ps").stderr)
        assert TOO_MANY in daemon.docker("ps").stderr
        status, told = _tell(ours, "POST", "/containers/later/start")
        assert (status, TOO_MANY in told, LIMIT in told) == (500, True, True)
        status, told = _tell(ours, "GET", "/containers/counts/logs?stdout=1")
        assert (status, TOO_MANY in told) == (500, True)
        execs = {"Cmd": ["true"], "AttachStdout": True}
        exec_id = json.loads(_tell(ours, "POST", "/containers/counts/exec", execs)[1])["Id"]
        status, told = _tell(ours, "POST", f"/exec/{exec_id}/start", {"Detach": True})
        assert (status, TOO_MANY in told) == (500, True)
        # what runs can be stopped, and nothing of it is forgotten
        for verb in ("pause", "unpause", "stop?t=1"):
            assert _tell(ours, "POST", f"/containers/counts/{verb}")[0] == 204
        assert _tell(ours, "POST", "/containers/ends/stop?t=60")[0] == 204
        assert open_descriptors(pid) < 2 * before
    ours.close()
    assert state(daemon, "ends")["ExitCode"] == 7
    assert _counted(daemon.docker("logs", "counts", check=True).stdout) > 0
    until(lambda: daemon.docker("ps").returncode == 0)
    assert daemon.docker("start", "-a", "later", check=True).stdout == "late\n"
    until(lambda: open_descriptors(pid) < before)


def test_no_room_for_another_container_is_told_and_costs_the_others_nothing(
    fresh_creched: Daemon,
) -> None:
    """ATTACKS 43: descriptors of the daemon and of the keeper."""
    daemon = fresh_creched
    for pid in (_daemon_pid(daemon), _keeper_pid(daemon)):
        with at_most_descriptors(pid, open_descriptors(pid) + 120):
            names = []
            for number in range(60):
                script = f'trap "exit {number}" TERM; echo {number}; while :; do sleep 0.02; done'
                name = f"of-{pid}-{number}"
                started = daemon.docker("run", "-d", "--name", name, "busybox", "sh", "-c", script)
                if started.returncode:
                    break
                names.append(name)
            assert 0 < len(names) < 60
            assert LIMIT in started.stderr
            assert LIMIT in _fail_to_start(daemon)
            for name in names:  # then it listens to the signal
                until(lambda name=name: daemon.docker("logs", name).stdout)  # type: ignore[misc]
            daemon.docker("stop", *names, check=True)
            code = ("inspect", "--format", "{{.State.ExitCode}}")
            ended = daemon.docker(*code, *names, check=True).stdout
            assert ended.split() == [str(number) for number in range(len(names))]
            assert daemon.docker("logs", names[-1], check=True).stdout == f"{len(names) - 1}\n"
            assert daemon.docker("run", "--rm", "busybox", "echo", "again", check=True).stdout


@contextlib.contextmanager
def _no_more_processes(daemon: Daemon) -> Iterator[None]:
    """No container may have one more until the end of the block.

    On v1 they count as the keeper's, on v2 as those of the group that holds them all.
    """
    hierarchy = detect()
    if hierarchy.version == 1:
        with limited(_keeper_pid(daemon), Limits(pids=1)):
            yield
        return
    group = hierarchy.directories(daemon.cgroup_parent)[""]
    (group / "pids.max").write_text((group / "pids.current").read_text())
    try:
        yield
    finally:
        (group / "pids.max").write_text("max")


def test_no_more_processes_is_told_by_the_limit_that_is_reached(fresh_creched: Daemon) -> None:
    """ATTACKS 43: pids."""
    daemon = fresh_creched
    alone = "i=0; while :; do i=$((i+1)); echo line $i; read -t 1 _; done"  # makes no process
    daemon.docker("run", "-di", "--name", "counts", "busybox", "sh", "-c", alone, check=True)
    with _no_more_processes(daemon):
        for _ in range(3):
            assert "pids.max" in _fail_to_start(daemon)
        refused = daemon.docker("exec", "counts", "true")
        assert (refused.returncode, "pids.max" in refused.stdout + refused.stderr) == (126, True)
        before = _counted(daemon.docker("logs", "counts").stdout)
        until(lambda: _counted(daemon.docker("logs", "counts").stdout) > before)
    assert daemon.docker("run", "--rm", "busybox", "echo", "again", check=True).stdout == "again\n"
    daemon.docker("kill", "counts", check=True)
    _counted(daemon.docker("logs", "counts", check=True).stdout)


def test_a_users_own_limit_on_processes_is_told(rootless: RootlessDaemon) -> None:
    """ATTACKS 43: RLIMIT_NPROC counts what the user has, in any control group."""
    as_user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "prlimit"]
    change = [*as_user, f"--pid={_keeper_pid(rootless)}"]
    shown = subprocess.check_output([*change, "--nproc", "--noheadings", "-o", "SOFT"], text=True)
    subprocess.run([*change, "--nproc=1:"], check=True)
    try:
        assert "ulimit -u" in _fail_to_start(rootless)
    finally:
        subprocess.run([*change, f"--nproc={shown.strip()}:"], check=True)
    assert rootless.docker("run", "--rm", "busybox", "echo", "on", check=True).stdout == "on\n"


def test_a_daemon_that_can_start_no_thread_goes_on(fresh_creched: Daemon) -> None:
    """ATTACKS 43: pids of the daemon, which are its threads."""
    daemon = fresh_creched
    quiet = 'trap "echo end; exit 7" TERM; echo begun; while :; do sleep 0.02; done'
    daemon.docker("run", "-d", "--name", "quiet", "busybox", "sh", "-c", quiet, check=True)
    daemon.docker("run", "--rm", "--name", "goes", "-d", "busybox", "sh", "-c", quiet, check=True)
    threads = Path(f"/proc/{_daemon_pid(daemon)}/task")
    own = 2  # the main one, and that in which overlays end
    with limited(_daemon_pid(daemon), Limits(pids=own)):
        until(lambda: len(os.listdir(threads)) == own)  # none is left that could be used again
        told = _fail_to_start(daemon)
        assert "no thread can be started" in told
        assert "pids.max" in told
        # the last words of a container are written all the same, and its files removed
        for name in ("quiet", "goes"):
            assert ask(daemon, "POST", f"/containers/{name}/stop?t=60")[0] == 204
        until(lambda: ask(daemon, "GET", "/containers/goes/json")[0] == 404)
    assert state(daemon, "quiet")["ExitCode"] == 7
    assert daemon.docker("logs", "quiet", check=True).stdout == "begun\nend\n"
    assert daemon.docker("run", "--rm", "busybox", "echo", "again", check=True).stdout == "again\n"
    daemon.docker("start", "quiet", check=True)


def test_a_keeper_that_is_out_of_memory_takes_no_container_along_in_silence(
    fresh_creched: Daemon,
) -> None:
    """ATTACKS 43: memory of the keeper."""
    daemon = fresh_creched
    counts = ("--name", "counts", "--stop-signal", "KILL")
    daemon.docker("run", "-d", *counts, "busybox", "sh", "-c", _COUNT, check=True)
    pid = state(daemon, "counts")["Pid"]
    until(lambda: daemon.docker("logs", "counts").stdout)
    keeper = _keeper_pid(daemon)
    with limited(keeper, Limits(memory_bytes=4 << 20)):
        big = [f"X{number}={'x' * 100_000}" for number in range(38)]
        spec = {"Image": "busybox", "Cmd": ["true"], "Env": big}
        status, answer = ask(
            daemon, "POST", "/containers/create?name=big", json.dumps(spec).encode(),
            **{"Content-Type": "application/json"},
        )  # fmt: skip
        assert status == 201, answer
        status, answer = ask(daemon, "POST", "/containers/big/start")
        assert status == 500
        assert b"keeper" in answer
        until(lambda: is_dead(keeper))
    until(lambda: not state(daemon, "counts")["Running"])
    assert "keeper" in state(daemon, "counts")["Error"]
    assert is_dead(pid)
    assert _counted(daemon.docker("logs", "counts", check=True).stdout) > 0
    assert "restart the daemon" in daemon.docker("start", "counts").stderr
    daemon.docker("rm", "big", check=True)
    assert daemon.stop() == 0
    daemon.start()
    daemon.docker("start", "counts", check=True)


@pytest.fixture
def creched_without_inotify(busybox: Path) -> Iterator[Daemon]:
    yield from running_daemon(
        busybox, prefix=[sys.executable, "-m", "tests.attacks.without_inotify"]
    )


def test_nothing_waits_for_an_inotify_instance(creched_without_inotify: Daemon) -> None:
    """ATTACKS 43: a user has 128 of them for all his programs."""
    daemon = creched_without_inotify
    no_instance = "import ctypes; raise SystemExit(ctypes.CDLL(None).inotify_init1(0) == -1)"
    program = [*daemon.prefix, sys.executable, "-c", no_instance]
    assert subprocess.run(program, check=False).returncode == 1
    hungry = "tail /dev/zero; echo lives; read _"
    run = ("run", "-di", "--name", "aa", "-m", "16m")
    daemon.docker(*run, "busybox", "sh", "-c", hungry, check=True)
    follows = daemon.docker_begun("logs", "-f", "aa")
    until(lambda: state(daemon, "aa")["OOMKilled"])
    for verb in ("pause", "unpause", "restart"):
        daemon.docker(verb, *(("-t", "0") if verb == "restart" else ()), "aa", check=True)
    daemon.docker("exec", "aa", "true", check=True)
    daemon.docker("rm", "-f", "aa", check=True)
    assert "lives" in follows.communicate(timeout=PATIENCE_S)[0]


async def test_a_keeper_without_descriptors_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    """ATTACKS 43."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        _, output = await box.start(nursery, "exec sleep 1000000", key="first")
        for number in range(0, 60, 4):  # from none at all to nearly enough
            with at_most_descriptors(box.keeper.pid, number):
                await _fails(box, f"EMFILE.*{LIMIT}")
                if number < 20:
                    await _exec_fails(box)  # which needs fewer
        assert list(await box.keeper.kept()) == ["first"]
        assert (await box.shell("exit 3")).status.code == 3
        await box.driver.terminate("first")
        await output.aclose()


@pytest.mark.parametrize("terminal", [None, WindowSize()], ids=["pipes", "terminal"])
async def test_a_start_that_runs_out_of_descriptors_at_any_step_leaves_nothing(
    tmp_path: Path, terminal: WindowSize | None
) -> None:
    """ATTACKS 43: with one more of them each time, until there are enough."""
    root = make_busybox_root(tmp_path / "root")
    async with open_native() as (driver, keeper):
        rig = Rig(driver, root)
        assert (await rig.run(TRUE)).code == 0
        before = os.listdir("/proc/self/fd")
        failed = 0
        for number in range(200):
            try:
                with at_most_descriptors(os.getpid(), number):
                    await rig.run(TRUE, terminal=terminal, task_status=ClosesTerminal())
                break
            except* (CrecheError, OSError):
                failed += 1
            assert os.listdir("/proc/self/fd") == before
            assert await keeper.kept() == {}
            assert await driver.leftovers() == []
        assert len(before) < failed < 200


@pytest.mark.parametrize("name", ["native", "runc"])
async def test_a_container_is_seen_to_its_end_without_threads(tmp_path: Path, name: str) -> None:
    """ATTACKS 43: of the daemon; a runtime cannot be started any more either."""
    root = make_busybox_root(tmp_path / "root")
    opened = open_native() if name == "native" else open_oci(tmp_path)
    async with opened as (driver, keeper):
        box = Box(driver, keeper, root)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            _, output = await box.start(nursery, "echo begun; exec sleep 1000000")
            await output.receive_some()
            async with without_threads():
                await driver.terminate("box")
                while nursery.child_tasks:  # noqa: ASYNC110
                    await trio.sleep(0.01)
        assert await driver.leftovers() == []


async def _fails(box: Box, told: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await box.run("true")
    assert caught.group_contains(SpawnFailed, match=told)


async def _exec_fails(box: Box) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        with pytest.raises(SpawnFailed, match="EMFILE"):
            await box.driver.exec(
                Process(key="first", argv=("true",), env=("PATH=/bin",)),
                Pipes(stdin=null, stdout=null, stderr=null),
            )
    finally:
        os.close(null)
