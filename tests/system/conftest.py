"""Fixtures of the system tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.host import Host
from tests.system.daemon import REPOSITORY, Daemon


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with an image of the host's busybox."""
    image = tmp_path_factory.mktemp("image") / "busybox.tar"
    maker = REPOSITORY / "contrib" / "busybox_image.py"
    subprocess.run([sys.executable, maker, image], check=True)
    return image


@pytest.fixture(scope="module")
def creched(busybox: Path) -> Iterator[Daemon]:
    """A daemon with a busybox image, for the tests of one file."""
    yield from running_daemon(busybox)


@pytest.fixture
def fresh_creched(busybox: Path) -> Iterator[Daemon]:
    """A daemon of this test's own, with a busybox image."""
    yield from running_daemon(busybox)


@pytest.fixture
def name(creched: Daemon, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container's name, which is free before and after."""
    chosen = request.node.originalname.removeprefix("test_")[:40]
    yield chosen
    creched.docker("rm", "-f", chosen)


@pytest.fixture
def creched_on_small_disk(busybox: Path) -> Iterator[Daemon]:
    """A daemon whose root has room for 24 MiB only."""
    yield from running_daemon(busybox, root_size="24m")


def running_daemon(
    image: Path,
    *,
    root_size: str = "",
    root_filesystem: str = "",
    configure: Callable[[Path], list[str]] = lambda _: [],
    prefix: Sequence[str] = (),
) -> Iterator[Daemon]:
    """Start one; after its end nothing of it may be left on the host.

    `configure` may write files to its directory, and gives more of its options.
    """
    directory = Path(tempfile.mkdtemp(prefix="creche-test-"))
    parent = f"/creche-test-{os.getpid()}-{directory.name[-8:]}"
    daemon = Daemon(
        directory,
        parent,
        root_size=root_size,
        root_filesystem=root_filesystem,
        options=configure(directory),
        prefix=list(prefix),
    )
    host = Host(daemon.cgroup_parent, directory)
    shutil.copy(image, daemon.image)
    daemon.start()
    try:
        daemon.docker("load", "-i", daemon.image, check=True)
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()
    assert "control.bug" not in daemon.log, daemon.log
    assert host.left_over() == {}
    shutil.rmtree(directory)
