"""The daemon of an ordinary user before it has become root for itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drivers.errors import ConfigError, Unsupported
from supervisor import rootless
from supervisor.config import DaemonConfig
from supervisor.id_pool import Pool, UserMaps
from supervisor.spec import ContainerSpec, Isolation
from supervisor.userns import Caller


def test_its_places_are_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "CRECHE_ROOTLESS_UID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/nurse")
    config = rootless.with_own_places(DaemonConfig(units="/mine"))
    assert config.root == "/home/nurse/.local/share/creche"
    assert config.run_dir == f"/run/user/{os.getuid()}/creche"
    assert config.units == "/mine"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/run")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/tmp/config")
    config = rootless.with_own_places(DaemonConfig())
    assert config.socket_path == Path("/tmp/run/creche/creche.sock")
    assert config.units == "/tmp/config/creche/containers.d"


def test_a_daemon_that_restarts_itself_knows_who_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("CRECHE_ROOTLESS_UID", "1234")
    assert rootless.is_rootless()
    assert rootless.with_own_places(DaemonConfig()).run_dir == "/run/user/1234/creche"


def test_what_maps_ids_is_missed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="newuidmap is not there: `apt install uidmap`"):
        rootless.enter()


@pytest.mark.parametrize("mode", ["auto", "keep-id", "map:uid=0:1:2"])
def test_its_containers_have_its_ids_only(mode: str) -> None:
    """ATTACKS 15."""
    spec = ContainerSpec(id="x", isolation=Isolation(userns_mode=mode))
    maps = UserMaps(Pool(), rootless=True)
    with pytest.raises(Unsupported, match=mode), maps.assigned(spec, Caller(uid=1, gid=1)):
        pass
