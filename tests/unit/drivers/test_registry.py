"""Which driver a name means, and which storage driver is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, get_args

import pytest

from drivers import registry
from drivers.errors import DriverError, IncompatibleFilesystem, NotFound, Unsupported
from drivers.registry import BUILT_IN, Kind, choose_storage


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in get_args(Kind) for name in BUILT_IN[kind]]
)
def test_every_built_in_name_loads(kind: Kind, name: str) -> None:
    assert callable(registry.load(kind, name))


def test_an_unknown_name_is_told_with_the_nearest_and_all_known() -> None:
    with pytest.raises(NotFound, match="unknown storage driver 'overly'") as told:
        registry.load("storage", "overly")
    assert str(told.value).endswith("did you mean 'overlay'? (known: overlay, vfs)")


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package with a log driver `beta`, and one that would hide `none`."""
    points = EntryPoints(
        [
            EntryPoint("beta", "collections:OrderedDict", "creche.log"),
            EntryPoint("none", "collections:OrderedDict", "creche.log"),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda **chosen: points.select(**chosen))


@pytest.mark.usefixtures("entry_point")
def test_another_packages_driver_is_found_by_its_entry_point() -> None:
    assert registry.names("log") == ["json-file", "none", "beta"]
    assert registry.load("log", "beta").__name__ == "OrderedDict"


@pytest.mark.usefixtures("entry_point")
def test_a_built_in_name_cannot_be_taken_by_another_package() -> None:
    assert registry.load("log", "none").__module__ == "drivers.log.none"


class _Storages:
    """Stands in for `load`: drivers that open, or fail to, and which were asked."""

    def __init__(self, failures: dict[str, DriverError]) -> None:
        self.failures = failures
        self.opened: list[tuple[str, Path, Mapping[str, str]]] = []

    def load(self, kind: Kind, name: str) -> Any:
        async def open_driver(home: Path, options: Mapping[str, str]) -> str:
            self.opened.append((name, home, options))
            if name in self.failures:
                raise self.failures[name]
            return name

        return open_driver


@pytest.fixture
def storages(monkeypatch: pytest.MonkeyPatch) -> _Storages:
    made = _Storages({})
    monkeypatch.setattr(registry, "load", made.load)
    return made


def _put_data(home: Path, *names: str) -> None:
    for name in names:
        (home / name / "layer").mkdir(parents=True)


async def test_the_first_that_works_is_chosen(storages: _Storages, tmp_path: Path) -> None:
    assert await choose_storage("", tmp_path, {"a": "b"}) == "overlay"
    assert storages.opened == [("overlay", tmp_path / "overlay", {"a": "b"})]
    storages.failures["overlay"] = Unsupported("overlay: no")
    assert await choose_storage("", tmp_path, {}) == "vfs"


async def test_the_one_whose_data_is_there_goes_before_the_order(
    storages: _Storages, tmp_path: Path
) -> None:
    _put_data(tmp_path, "vfs")
    assert await choose_storage("", tmp_path, {}) == "vfs"


async def test_debris_is_no_data(storages: _Storages, tmp_path: Path) -> None:
    (tmp_path / "vfs" / ".probe").mkdir(parents=True)
    assert await choose_storage("", tmp_path, {}) == "overlay"


async def test_no_other_driver_is_tried_when_the_one_with_data_fails(
    storages: _Storages, tmp_path: Path
) -> None:
    _put_data(tmp_path, "overlay")
    storages.failures["overlay"] = IncompatibleFilesystem("overlay: not over this")
    with pytest.raises(Unsupported, match="not over this"):
        await choose_storage("", tmp_path, {})
    assert [name for name, _, _ in storages.opened] == ["overlay"]


async def test_data_of_another_driver_is_never_ignored(storages: _Storages, tmp_path: Path) -> None:
    _put_data(tmp_path, "vfs")
    with pytest.raises(DriverError, match="holds data of 'vfs': start with --storage-driver vfs"):
        await choose_storage("overlay", tmp_path, {})
    assert storages.opened == []


async def test_data_of_several_drivers_needs_a_choice(storages: _Storages, tmp_path: Path) -> None:
    _put_data(tmp_path, "overlay", "vfs")
    with pytest.raises(DriverError, match=r"several storage drivers \(overlay, vfs\)"):
        await choose_storage("", tmp_path, {})
    assert await choose_storage("vfs", tmp_path, {}) == "vfs"


async def test_an_explicit_choice_fails_with_its_own_reason(
    storages: _Storages, tmp_path: Path
) -> None:
    storages.failures["vfs"] = Unsupported("vfs: no")
    with pytest.raises(Unsupported, match=r"^vfs: no$"):
        await choose_storage("vfs", tmp_path, {})


async def test_if_none_works_every_reason_is_told(storages: _Storages, tmp_path: Path) -> None:
    storages.failures = {
        "overlay": IncompatibleFilesystem("overlay: not over nfs"),
        "vfs": Unsupported("vfs: read-only"),
    }
    with pytest.raises(Unsupported, match="overlay: not over nfs; vfs: read-only"):
        await choose_storage("", tmp_path, {})
