"""Which execution drivers the daemon's settings name, and which one is the default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivers.errors import ConfigError
from supervisor.config import DaemonConfig, RuntimeTable, parse_arguments
from supervisor.runtimes import Choice, choices

_INSTALLED = {"runc": "/usr/sbin/runc", "crun": "/usr/bin/crun"}


def _choices(installed: dict[str, str] = _INSTALLED, **settings: Any) -> dict[str, Choice]:
    return choices(DaemonConfig(**settings), installed)


def _oci(path: str) -> Choice:
    return Choice(driver="oci", options={"runtime": path})


def test_creches_own_is_the_default_and_installed_runtimes_can_be_asked_for() -> None:
    found = _choices()
    assert list(found) == ["native", "runc", "crun"]
    assert found["native"] == Choice(driver="native")
    assert found["crun"] == _oci("/usr/bin/crun")
    assert (found["native"].path, found["runc"].path) == ("native", "/usr/sbin/runc")


def test_runtimes_of_the_file_are_added_and_win_over_installed_ones() -> None:
    runtimes = {"crun": RuntimeTable(path="/opt/crun"), "mine": RuntimeTable(path="/opt/mine")}
    found = _choices(runtimes=runtimes)
    assert list(found) == ["native", "runc", "crun", "mine"]
    assert found["crun"] == _oci("/opt/crun")


def test_the_oci_driver_as_the_default_is_named_by_its_runtime() -> None:
    assert next(iter(_choices(exec_driver="oci").items())) == ("runc", _oci("runc"))
    found = _choices(exec_driver="oci", exec_opt={"runtime": "/opt/youki"})
    assert list(found) == ["youki", "runc", "crun", "native"]
    assert found["youki"] == _oci("/opt/youki")


def test_a_runtimes_name_can_be_the_default() -> None:
    assert list(_choices(exec_driver="crun")) == ["crun", "runc", "native"]


def test_another_packages_driver_can_be_the_default() -> None:
    found = _choices({}, exec_driver="theirs", exec_opt={"a": "1"})
    assert found == {
        "theirs": Choice(driver="theirs", options={"a": "1"}),
        "native": Choice(driver="native"),
    }


def test_the_name_of_creches_own_driver_cannot_be_taken() -> None:
    with pytest.raises(ConfigError, match=r"runtimes\.native: this name is Creche's own"):
        _choices(runtimes={"native": RuntimeTable(path="/x")})


def test_runtimes_and_options_are_read_from_the_file_and_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "creche.toml"
    file.write_text('exec-driver = "oci"\n[runtimes.mine]\npath = "/opt/mine"\n')
    arguments = ["--config", str(file), "--exec-opt", "runtime=/usr/bin/crun"]
    config = parse_arguments(arguments).config
    assert config.runtimes == {"mine": RuntimeTable(path="/opt/mine")}
    assert (config.exec_driver, config.exec_opt) == ("oci", {"runtime": "/usr/bin/crun"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[runtimes.x]\npath = "crun"\n', r"runtimes.x.path: 'crun' is not an absolute path"),
        (
            '[runtimes.x]\npth = "/crun"\n',
            r'toml:1: runtimes.pth: .* did you mean "path"',
        ),
        ("[runtimes.x]\n", r"toml:1: runtimes: object missing required field `path`"),
    ],
)
def test_wrong_runtimes_are_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "creche.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        parse_arguments(["--config", str(file)])
