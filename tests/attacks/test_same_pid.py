"""The number of a process that has ended belongs to another one: nobody takes it for the first."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from drivers.errors import NotRunning
from drivers.execution.base import Pipes, Process
from tests.native import Box, open_box
from tests.same_pid import bystander
from tests.system.daemon import PATIENCE_S, Daemon
from tests.system.docker import state

_FOREVER = 'trap "exit 7" TERM; echo begun; while :; do sleep 0.02; done'


def _until_gone(pid: int) -> None:
    """Blocking, as nothing of the daemon may run meanwhile."""
    end = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_a_new_daemon_leaves_alone_who_has_the_numbers_of_its_containers_now(
    fresh_creched: Daemon, runtime: str
) -> None:
    """ATTACKS 42."""
    daemon = fresh_creched
    options = () if runtime == "native" else ("--runtime", runtime)
    run = ("run", "-d", *options, "--name")
    daemon.docker(*run, "aa", "busybox", "sh", "-c", _FOREVER, check=True)
    pid = int(state(daemon, "aa")["Pid"])
    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    _until_gone(pid)
    with bystander(pid) as other:
        daemon.start()
        shown = state(daemon, "aa")
        assert (shown["Running"], shown["Pid"], shown["ExitCode"]) == (False, 0, 255)
        for verb in ("kill", "pause", "top", "stop"):
            daemon.docker(verb, "aa")
        assert daemon.docker("exec", "aa", "true").returncode != 0
        daemon.docker("start", "aa", check=True)
        assert state(daemon, "aa")["Pid"] != pid
        daemon.docker("rm", "-f", "aa", check=True)
        assert other.poll() is None
        assert daemon.cgroup_parent not in Path(f"/proc/{pid}/cgroup").read_text()


async def test_who_has_the_number_of_a_container_that_has_just_ended_is_left_alone(
    tmp_path: Path,
) -> None:
    """ATTACKS 42: the keeper has reaped it, and the daemon has not heard of that yet."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        started, output = await box.start(nursery, "echo begun; exec sleep 1000000")
        await output.receive_some()
        # from here on without a checkpoint: nothing that the keeper says is heard
        os.kill(started.pid, signal.SIGKILL)
        _until_gone(started.pid)
        with bystander(started.pid) as other:
            usage = box.driver.stats("box")
            assert _at_once(usage).networks == ()
            for operation in (box.driver.kill("box", signal.SIGTERM), _exec(box)):
                with pytest.raises(NotRunning):
                    _at_once(operation)
            _at_once(box.driver.terminate("box"))
            assert other.poll() is None


def _at_once(operation: Any) -> Any:
    """The result of what awaits nothing."""
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value
    finally:
        operation.close()
    raise AssertionError("it waits")


async def _exec(box: Box) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        process = Process(key="box", argv=("true",), env=("PATH=/bin",))
        await box.driver.exec(process, Pipes(stdin=null, stdout=null, stderr=null))
    finally:
        os.close(null)
