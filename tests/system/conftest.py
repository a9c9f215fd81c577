"""Fixtures of the system tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.host import Host
from tests.system.daemon import Daemon


@pytest.fixture(scope="module")
def creched() -> Iterator[Daemon]:
    """A daemon with a busybox image, for the tests of one file."""
    yield from running_daemon()


@pytest.fixture
def fresh_creched() -> Iterator[Daemon]:
    """A daemon of this test's own, with a busybox image."""
    yield from running_daemon()


@pytest.fixture
def creched_on_small_disk() -> Iterator[Daemon]:
    """A daemon whose root has room for 24 MiB only."""
    yield from running_daemon(root_size="24m")


def running_daemon(
    *,
    root_size: str = "",
    root_filesystem: str = "",
    configure: Callable[[Path], list[str]] = lambda _: [],
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
    )
    host = Host(daemon.cgroup_parent, directory)
    daemon.start()
    try:
        daemon.load_busybox()
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()
    assert "control.bug" not in daemon.log, daemon.log
    assert host.left_over() == {}
    shutil.rmtree(directory)
