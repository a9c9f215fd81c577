"""Tests for the guest of contrib/vm: they use its systemd, its users, its AppArmor.

The host's run does not collect them (tests/conftest.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import busybox, creched
from tests.vm.service import Service, installed

__all__ = ["busybox", "creched"]

if "CRECHE_VM" not in os.environ:
    raise pytest.UsageError("tests/vm adds users and services: `sh contrib/vm/run.sh tests/vm`")


@pytest.fixture(scope="module")
def service(busybox: Path) -> Iterator[Service]:
    """creched as a service of the system, from the wheel and with the files of `units/`."""
    with installed() as one:
        one.start()
        one.docker("load", "-i", busybox, check=True)
        yield one
