"""A container that makes more directories in one another than paths or descriptors can follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import running_daemon
from tests.system.daemon import Daemon

pytestmark = pytest.mark.same_everywhere

# Each path is short enough. An interpreter's calls end at 1000.
_DEEP = (
    "p=$(yes d/ | head -n 1000 | tr -d '\\n'); for top in a b c; do mkdir -p /$top/$p;"
    " echo x >/$top/${p}file; done; mv /b /a/$p && mv /a /c/$p && echo made"
)


@pytest.fixture(scope="module", params=["overlay", "vfs"])
def creched(busybox: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon with each storage driver."""
    yield from running_daemon(busybox, configure=lambda _: ["--storage-driver", request.param])


def test_it_can_be_looked_at_and_removed(creched: Daemon) -> None:
    docker = creched.docker
    made = docker("run", "--name", "deep", "busybox", "sh", "-c", _DEEP)
    assert made.stdout == "made\n", made
    docker("run", "--name", "other", "busybox", "true", check=True)

    diff = docker("diff", "deep")
    assert diff.returncode == 1
    assert "file name too long" in diff.stderr.lower()
    shown = docker("ps", "-a", "-s", "--format", "{{.Names}} {{.Size}}", check=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} == {"deep", "other"}

    docker("rm", "deep", "other", check=True)
    left = [path for path in creched.directory.rglob("*") if path.name == "d"]
    assert left == []
