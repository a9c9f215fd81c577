"""Fixtures of the system tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import Host
from tests.system.daemon import Daemon


@pytest.fixture(scope="module")
def creched() -> Iterator[Daemon]:
    """A daemon with a busybox image, for the tests of one file."""
    yield from _daemon(with_image=True)


@pytest.fixture
def fresh_creched() -> Iterator[Daemon]:
    """A daemon of this test's own, with a busybox image."""
    yield from _daemon(with_image=True)


def _daemon(*, with_image: bool) -> Iterator[Daemon]:
    """Start one; after its end nothing of it may be left on the host."""
    directory = Path(tempfile.mkdtemp(prefix="creche-test-"))
    daemon = Daemon(directory, f"/creche-test-{os.getpid()}-{directory.name[-8:]}")
    host = Host(daemon.cgroup_parent, directory)
    daemon.start()
    try:
        if with_image:
            daemon.load_busybox()
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()
    assert "control.bug" not in daemon.log, daemon.log
    assert host.left_over() == {}
    shutil.rmtree(directory)
