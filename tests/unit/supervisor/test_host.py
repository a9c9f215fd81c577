"""What the daemon asks of its host before it starts."""

from __future__ import annotations

import importlib.util
import platform

import pytest

from drivers.errors import ConfigError, Unsupported
from supervisor.daemon import check_host


def test_a_kernel_that_is_too_old_is_told_with_the_oldest_that_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "release", lambda: "5.10.0-13-amd64")
    with pytest.raises(Unsupported, match=r"5\.10\.0-13-amd64: Creche needs Linux 5\.14 or newer"):
        check_host()


def test_the_other_package_of_that_name_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="is another program's"):
        check_host()


def test_this_host_will_do() -> None:
    check_host()
