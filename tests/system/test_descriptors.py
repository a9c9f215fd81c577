"""How many descriptors a daemon has that was given few, and its containers."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import running_daemon
from tests.system.daemon import Daemon

pytestmark = pytest.mark.same_everywhere

SOFT, HARD = 64, 4000
CONTAINERS = 20  # each takes more than a handful
_ASK = ("sh", "-c", "ulimit -Sn; ulimit -Hn")


@pytest.fixture(scope="module")
def creched(busybox: Path) -> Iterator[Daemon]:
    """A daemon that was given few, and may have more."""
    yield from running_daemon(busybox, prefix=["prlimit", f"--nofile={SOFT}:{HARD}"])


def _limit_of(creched: Daemon) -> tuple[int, int]:
    assert creched.process is not None
    return resource.prlimit(creched.process.pid, resource.RLIMIT_NOFILE)


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_containers_get_what_the_daemon_was_given(creched: Daemon, runtime: str) -> None:
    run = ["run", "--rm", "--runtime", runtime]
    assert creched.docker(*run, "busybox", *_ASK).stdout == f"{SOFT}\n{HARD}\n"
    asked = creched.docker(*run, "--ulimit", "nofile=50:60", "busybox", *_ASK)
    assert asked.stdout == "50\n60\n"


def test_so_do_execs(creched: Daemon) -> None:
    creched.docker("run", "-d", "--name", "up", "busybox", "sleep", "1000", check=True)
    assert creched.docker("exec", "up", *_ASK).stdout == f"{SOFT}\n{HARD}\n"
    creched.docker("rm", "-f", "up", check=True)


def test_the_daemon_has_as_many_as_it_may(creched: Daemon) -> None:
    assert _limit_of(creched) == (HARD, HARD)
    names = [f"c{number}" for number in range(CONTAINERS)]
    for name in names:
        creched.docker("run", "-d", "--name", name, "busybox", "sleep", "1000", check=True)
    assert creched.process is not None
    assert len(list(Path(f"/proc/{creched.process.pid}/fd").iterdir())) > SOFT
    creched.docker("rm", "-f", *names, check=True)


def test_a_daemon_that_executes_itself_again_is_given_the_same(creched: Daemon) -> None:
    creched.reload()
    assert creched.docker("run", "--rm", "busybox", *_ASK).stdout == f"{SOFT}\n{HARD}\n"
    assert _limit_of(creched) == (HARD, HARD)
