"""The daemon of an ordinary user before it has become root for itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drivers.errors import ConfigError, InvalidRequest
from supervisor import rootless
from supervisor.config import DaemonConfig
from supervisor.id_pool import Pool, UserMaps
from supervisor.spec import ContainerSpec, Isolation, UserMap
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


def _mapped(mode: str) -> UserMap | None:
    spec = ContainerSpec(id="x", isolation=Isolation(userns_mode=mode))
    own = UserMap(uids=((0, 54321, 1), (1, 100000, 1000)), gids=((0, 54321, 1), (1, 100000, 100)))
    maps = UserMaps(Pool(), rootless_ids=own)
    with maps.assigned(spec, Caller(uid=1, gid=1)) as assigned:
        return assigned.user_map


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("auto", "auto: a rootless daemon cannot show files by other ids: use host, or"),
        ("keep-id", "keep-id: a rootless daemon cannot show files by other ids: use host, or"),
        ("map:uid=0:1:2", "cannot show files by other ids"),
        ("map:uid=0:0:1002,gid=0:0:1", "invalid userns map: 1 uids in it are not of"),
        ("map:uid=0:0:102", "invalid userns map: 1 gids in it are not of"),
    ],
)
def test_its_containers_have_no_ids_but_its_own_as_they_are(mode: str, said: str) -> None:
    """ATTACKS 15."""
    with pytest.raises(InvalidRequest, match=said) as caught:
        _mapped(mode)
    assert caught.value.field == "UsernsMode"


def test_its_containers_may_have_fewer_of_its_ids() -> None:
    assert _mapped("host") is None
    expected = UserMap(uids=((0, 0, 1), (1, 1, 999)), gids=((0, 0, 1), (1, 1, 100)))
    assert _mapped("map:uid=0:0:1000,gid=0:0:101") == expected
