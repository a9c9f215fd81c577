"""Attacks by archives: nothing outside of a layer changes, whatever the stream holds."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import pytest

from drivers.errors import CorruptData
from drivers.storage import vfs
from drivers.storage.base import StorageDriver
from supervisor.images.store import open_store
from tests.conformance.harness_storage import ROWS, Row
from tests.layers import entry, hard_link, layer, symlink

pytestmark = pytest.mark.same_everywhere


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of the host that must not change."""
    directory = tmp_path / "victim"
    directory.mkdir()
    (directory / "secret").write_text("untouched")
    return directory


def state_of(directory: Path) -> list[tuple[str, bytes, int, int]]:
    return sorted(
        (str(p), p.read_bytes() if p.is_file() else b"", p.lstat().st_mode, p.lstat().st_nlink)
        for p in directory.rglob("*")
    )


HOSTILE = {
    "a name that climbs": lambda v: [entry(f"../../../../../../../..{v}/secret", b"evil")],
    "a name that climbs in the middle": lambda v: [entry(f"a/../../../../../..{v}/new", b"evil")],
    "an absolute name": lambda v: [entry(f"{v}/secret", b"evil")],
    "a symlink, then a file through it": lambda v: [
        symlink("door", str(v)),
        entry("door/secret", b"evil"),
    ],
    "a relative symlink, then a file through it": lambda v: [
        symlink("door", f"../../../../../../../..{v}"),
        entry("door/new", b"evil"),
    ],
    "a file over a symlink": lambda v: [
        symlink("door", f"{v}/secret"),
        entry("door", b"evil"),
    ],
    "a hard link to the host": lambda v: [
        hard_link("grab", f"{v}/secret"),
        entry("grab", b"evil"),
    ],
    "a hard link through a symlink": lambda v: [
        symlink("door", str(v)),
        hard_link("grab", "door/secret"),
    ],
    "a whiteout through a symlink": lambda v: [
        symlink("door", str(v)),
        entry("door/.wh.secret", b""),
    ],
    "an opaque mark through a symlink": lambda v: [
        symlink("door", str(v)),
        entry("door/.wh..wh..opq", b""),
    ],
    "a directory's mode through a symlink": lambda v: [
        symlink("door", str(v)),
        entry("door", mode=0o777),
    ],
    "a whiteout of the parent": lambda v: [entry("a"), entry("a/.wh...", b"")],
    "a long path": lambda v: [entry("a/" * 3000 + "b", b"evil")],
}


@pytest.mark.parametrize("attack", HOSTILE)
async def test_a_hostile_layer_changes_nothing_outside(
    row: Row, tmp_path: Path, victim: Path, attack: str
) -> None:
    """ATTACKS 17; 21 for modes."""
    driver = await row.open(tmp_path / "home")
    before = state_of(victim)
    try:
        await driver.apply_diff("bad", None, layer(*HOSTILE[attack](victim)))
    except CorruptData:
        assert await driver.keys() == []
    assert state_of(victim) == before
    assert set(os.listdir(tmp_path)) <= {"home", "victim"}


async def test_overlays_own_attributes_are_not_taken_from_a_layer(row: Row, tmp_path: Path) -> None:
    """ATTACKS 23: a layer cannot redirect what overlay shows."""
    driver = await row.open(tmp_path / "home")
    hostile = entry("dir", pax={"SCHILY.xattr.trusted.overlay.redirect": "/etc"})
    await driver.apply_diff("bad", None, layer(hostile, entry("dir/file", b"x")))
    found = [p for p in (tmp_path / "home").rglob("dir") if p.is_dir()]
    assert found
    assert all(os.listxattr(path) == [] for path in found)


def archive(layers: list[bytes], diff_ids: list[str], *, config_name: str = "") -> io.BytesIO:
    """What `docker save` writes."""
    config = json.dumps(
        {"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    name = config_name or f"{hashlib.sha256(config).hexdigest()}.json"
    files = {f"l{n}.tar": data for n, data in enumerate(layers)}
    manifest = [{"Config": name, "RepoTags": ["evil:1"], "Layers": list(files)}]
    files |= {name: config, "manifest.json": json.dumps(manifest).encode()}
    return layer(*(entry(file, data) for file, data in files.items()))


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
async def storage(tmp_path: Path) -> StorageDriver:
    return await vfs.open_driver(tmp_path / "storage", {})


async def test_a_digest_that_does_not_match_is_refused(
    tmp_path: Path, storage: StorageDriver
) -> None:
    """ATTACKS 26."""
    images = await open_store(tmp_path / "images", storage)
    good, other = layer(entry("a", b"1")).getvalue(), layer(entry("a", b"2")).getvalue()
    wrong_layer = archive([good, other], [digest(good), digest(good)])
    with pytest.raises(CorruptData, match="layer digest mismatch: expected sha256:"):
        await images.load(wrong_layer)
    wrong_config = archive([good], [digest(good)], config_name=f"{'0' * 64}.json")
    with pytest.raises(CorruptData, match="digest mismatch"):
        await images.load(wrong_config)
    assert images.images() == []
    assert storage.keys() == []


@pytest.mark.parametrize(
    "files",
    [
        {"manifest.json": b"[]]"},
        {"manifest.json": b'{"not": "a list"}'},
        {"manifest.json": b'[{"Layers": []}]'},
        {"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'},
        {"manifest.json": b"[" * 100_000},
        {"index.json": b'{"manifests": [{"digest": 3, "size": "x"}]}'},
        {"index.json": b"[]"},
        {"other": b"x"},
        {},
    ],
)
async def test_an_archive_that_is_none_is_refused(
    tmp_path: Path, storage: StorageDriver, files: dict[str, bytes]
) -> None:
    """ATTACKS 26."""
    images = await open_store(tmp_path / "images", storage)
    with pytest.raises(CorruptData):
        await images.load(layer(*(entry(name, data) for name, data in files.items())))
    assert images.images() == []


async def test_a_symlink_in_an_archive_leads_nowhere(
    tmp_path: Path, storage: StorageDriver, victim: Path
) -> None:
    """ATTACKS 17: the archive's own members."""
    images = await open_store(tmp_path / "images", storage)
    manifest = json.dumps([{"Config": "c", "Layers": []}]).encode()
    hostile = layer(entry("manifest.json", manifest), symlink("c", str(victim / "secret")))
    with pytest.raises(CorruptData, match="missing"):
        await images.load(hostile)
