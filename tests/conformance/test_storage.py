"""What every storage driver does."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trio

from drivers import registry
from drivers.errors import (
    AlreadyExists,
    CorruptData,
    IncompatibleFilesystem,
    InUse,
    InvalidRequest,
    NotFound,
)
from drivers.kernel.mount import fsconfig_create, fsmount, fsopen, move_mount, umount
from drivers.kernel.user_namespace import new_user_namespace
from drivers.storage.base import Change, ChangeKind
from tests import host
from tests.cancel import cancel_everywhere
from tests.conformance.harness_storage import ROWS, InThreads, Row
from tests.layers import entry, hard_link, layer, names, symlink

BASE = (
    entry("etc"),
    entry("etc/passwd", b"root"),
    entry("etc/group", b"wheel"),
    entry("bin"),
    entry("bin/su", b"#!", mode=0o4755),
    entry("deep"),
    entry("deep/a", b"1"),
    entry("deep/b", b"2"),
    symlink("link", "etc/passwd"),
)


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


@pytest.fixture
async def driver(row: Row, tmp_path: Path) -> InThreads:
    return await row.open(tmp_path / "home")


class Mounted:
    """A mounted key, read and written through its descriptor."""

    def __init__(self, driver: InThreads, key: str, userns_fd: int | None = None) -> None:
        self._driver = driver
        self._key = key
        self._userns_fd = userns_fd
        self.fd = -1

    async def __aenter__(self) -> Mounted:
        self.fd = await self._driver.get(self._key, self._userns_fd)
        return self

    async def __aexit__(self, *_: object) -> None:
        os.close(self.fd)
        await self._driver.put(self._key)

    def read(self, path: str) -> bytes:
        with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=self.fd), "rb") as file:
            return file.read()

    def write(self, path: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(path, flags, 0o644, dir_fd=self.fd), "wb") as file:
            file.write(data)

    def names(self, path: str = ".") -> list[str]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def stat(self, path: str) -> os.stat_result:
        return os.stat(path, dir_fd=self.fd, follow_symlinks=False)


def test_every_registered_driver_has_a_row() -> None:
    assert set(registry.BUILT_IN["storage"]) == {row.driver for row in ROWS}


async def test_a_child_shows_its_parent_and_keeps_its_own_changes(driver: InThreads) -> None:
    await driver.apply_diff("base", None, layer(*BASE))
    for key in ("one", "two"):
        await driver.create(key, "base")
    async with Mounted(driver, "one") as one:
        assert one.read("etc/passwd") == b"root"
        one.write("etc/passwd", b"changed")
        os.unlink("deep/a", dir_fd=one.fd)
    async with Mounted(driver, "one") as one, Mounted(driver, "two") as two:
        assert one.read("etc/passwd") == b"changed"
        assert one.names("deep") == ["b"]
        assert two.read("etc/passwd") == b"root"
        assert two.names("deep") == ["a", "b"]


@pytest.mark.same_everywhere
async def test_directories_may_be_deeper_than_the_interpreters_calls(driver: InThreads) -> None:
    deep = ["/".join("d" * depth) for depth in range(1, 1101)]
    await driver.apply_diff("base", None, layer(*map(entry, deep), entry(f"{deep[-1]}/f", b"1")))
    await driver.create("one", "base")
    async with Mounted(driver, "one") as one:
        assert one.read(f"{deep[-1]}/f") == b"1"
        one.write(f"{deep[-1]}/f", b"changed")
    found = await driver.changes("one", "base")
    assert Change(f"/{deep[-1]}/f", ChangeKind.MODIFIED) in found
    assert await driver.diff_size("one", "base") == len(b"changed")
    await driver.remove("one")
    await driver.remove("base")
    assert await driver.keys() == []


async def test_nothing_is_attached_to_the_hosts_mounts(driver: InThreads) -> None:
    before = host.mounts()
    await driver.apply_diff("base", None, layer(*BASE))
    await driver.create("one", "base")
    async with Mounted(driver, "one"):
        assert host.mounts() == before
    assert host.mounts() == before


async def test_owner_mode_time_links_and_devices_are_kept(driver: InThreads) -> None:
    entries = [
        *BASE,
        entry("own", b"x", uid=1234, mode=0o640, pax={"mtime": "1234567890.123456789"}),
        hard_link("hard", "own"),
        entry("null", type=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
        entry("pipe", type=tarfile.FIFOTYPE),
        entry("attr", b"x", pax={"SCHILY.xattr.user.note": "kept"}),
    ]
    await driver.apply_diff("base", None, layer(*entries))
    await driver.create("one", "base")
    async with Mounted(driver, "one") as one:
        own = one.stat("own")
        assert (own.st_uid, stat.S_IMODE(own.st_mode), own.st_nlink) == (1234, 0o640, 2)
        assert own.st_mtime_ns == 1234567890_123456789
        assert one.stat("hard").st_ino == own.st_ino
        assert stat.S_IMODE(one.stat("bin/su").st_mode) == 0o4755
        assert one.stat("null").st_rdev == os.makedev(1, 3)
        assert stat.S_ISFIFO(one.stat("pipe").st_mode)
        assert os.readlink("link", dir_fd=one.fd) == "etc/passwd"
        assert one.stat("etc").st_mtime == 1_000_000_000
        fd = os.open("attr", os.O_RDONLY, dir_fd=one.fd)
        assert os.getxattr(fd, "user.note") == b"kept"
        os.close(fd)


@pytest.fixture
def userns_fd() -> Iterator[int]:
    fd = new_user_namespace("0 100000 65536\n", "0 200000 65536\n")
    yield fd
    os.close(fd)


async def test_owners_are_mapped_and_on_disk_they_are_not(
    driver: InThreads, userns_fd: int
) -> None:
    before = host.mounts()
    await driver.apply_diff("base", None, layer(*BASE, entry("own", b"x", uid=1234)))
    for key, parent in (("one", "base"), ("top", None)):
        await driver.create(key, parent)
        async with Mounted(driver, key, userns_fd) as mapped:
            os.chown("own" if parent else ".", 101_000, 201_000, dir_fd=mapped.fd)
            root = mapped.stat(".")
            if parent:
                assert (root.st_uid, root.st_gid) == (100_000, 200_000)
                own = mapped.stat("own")
                assert (own.st_uid, own.st_gid) == (101_000, 201_000)
                mapped.write("etc/passwd", b"changed")
                os.unlink("etc/group", dir_fd=mapped.fd)
                assert mapped.stat("etc/passwd").st_uid == 100_000
            assert host.mounts() == before
        async with Mounted(driver, key) as plain:
            own = plain.stat("own" if parent else ".")
            assert (own.st_uid, own.st_gid) == (1000, 1000)
    async with Mounted(driver, "one") as plain:
        assert plain.read("etc/passwd") == b"changed"
        assert plain.stat("etc/passwd").st_uid == 0
        assert plain.names("etc") == ["passwd"]


async def test_containers_with_several_maps_share_their_layers(
    driver: InThreads, userns_fd: int
) -> None:
    await driver.apply_diff("base", None, layer(*BASE))
    for key in ("one", "two"):
        await driver.create(key, "base")
    async with Mounted(driver, "one", userns_fd) as one, Mounted(driver, "two") as two:
        assert (one.stat("etc/group").st_uid, two.stat("etc/group").st_uid) == (100_000, 0)


async def test_a_file_system_that_knows_no_maps_is_told(row: Row, tmp_path: Path) -> None:
    """ATTACKS 15."""
    home = tmp_path / "home"
    home.mkdir()
    fd = new_user_namespace("0 100000 65536\n", "0 100000 65536\n")

    def mount_ramfs() -> None:
        context = fsopen("ramfs")
        fsconfig_create(context)
        mount = fsmount(context)
        move_mount(mount, str(home))
        os.close(mount)
        os.close(context)

    mount_ramfs()
    try:
        driver = await row.open(home)
        await driver.create("one", None)
        with pytest.raises(IncompatibleFilesystem, match=r"ramfs at .* has no id-mapped mounts"):
            await driver.get("one", fd)
        await driver.remove("one")
    except IncompatibleFilesystem:
        assert row.driver == "overlay"
    finally:
        umount(str(home))
        os.close(fd)


async def test_whiteouts_delete_and_opaque_directories_hide(driver: InThreads) -> None:
    await driver.apply_diff("base", None, layer(*BASE))
    changes = layer(
        entry("etc"), entry("etc/.wh.passwd", b""),
        entry("deep"), entry("deep/.wh..wh..opq", b""), entry("deep/c", b"3"),
        entry(".wh.link", b""),
    )  # fmt: skip
    await driver.apply_diff("top", "base", changes)
    await driver.create("one", "top")
    async with Mounted(driver, "one") as one:
        assert one.names("etc") == ["group"]
        assert one.names("deep") == ["c"]
        assert "link" not in one.names()


async def test_what_is_beneath_shows_where_there_is_nothing_else(row: Row, tmp_path: Path) -> None:
    driver = await row.open(tmp_path / "home")
    places = ("proc", "etc", "etc/passwd", "etc/hosts", "deep", "deep/b", "deep/hosts")
    await driver.apply_diff("places", None, layer(*(entry(name) for name in places)))
    await driver.apply_diff("base", None, layer(*BASE))
    await driver.apply_diff("top", "base", layer(entry("deep"), entry("deep/.wh..wh..opq", b"")))
    await driver.create("one", "top", "places")
    is_shared = "shared_layers" not in row.lacks
    shown = ["group", "hosts", "passwd"] if is_shared else ["group", "passwd"]
    for _ in range(2):
        async with Mounted(driver, "one") as one:
            assert one.names("etc") == shown
            assert one.read("etc/passwd") == b"root"
            assert one.names("deep") == []
            assert ("proc" in one.names()) == is_shared
        assert await driver.changes("one", "top") == []
        await driver.cleanup()
        driver = await row.open(tmp_path / "home")  # which knows it from its disk
    if is_shared:
        with pytest.raises(InUse):
            await driver.remove("places")
    for key in ("one", "places"):
        await driver.remove(key)


async def test_what_is_beneath_a_parent_shows_in_its_child(row: Row, tmp_path: Path) -> None:
    driver = await row.open(tmp_path / "home")
    await driver.apply_diff("places", None, layer(entry("proc")))
    await driver.apply_diff("base", None, layer(*BASE))
    await driver.create("one", "base", "places")
    await driver.create("two", "one")
    async with Mounted(driver, "two") as two:
        assert ("proc" in two.names()) == ("shared_layers" not in row.lacks)


async def test_a_parent_that_a_power_loss_has_cost_is_told(row: Row, tmp_path: Path) -> None:
    driver = await row.open(tmp_path / "home")
    await driver.apply_diff("base", None, layer(*BASE))
    await driver.create("one", "base")
    (tmp_path / "home/one/parent").write_text("")
    await driver.cleanup()
    driver = await row.open(tmp_path / "home")
    if row.driver == "overlay":  # one that copies has all that it needs
        with pytest.raises(NotFound, match="power-loss"):
            await driver.get("one")
    await driver.remove("one")
    await driver.remove("base")


async def test_beneath_may_be_all_that_there_is(row: Row, tmp_path: Path) -> None:
    driver = await row.open(tmp_path / "home")
    await driver.apply_diff("places", None, layer(entry("proc")))
    await driver.create("one", None, "places")
    async with Mounted(driver, "one") as one:
        assert one.names() == (["proc"] if "shared_layers" not in row.lacks else [])
        one.write("new", b"n")
    await driver.remove("one")
    await driver.remove("places")
    if "shared_layers" not in row.lacks:
        with pytest.raises(NotFound):
            await driver.create("two", None, "places")


async def test_the_difference_is_told_and_can_be_applied_elsewhere(driver: InThreads) -> None:
    await driver.apply_diff("base", None, layer(*BASE))
    await driver.create("one", "base")
    async with Mounted(driver, "one") as one:
        one.write("etc/group", b"longer than before")
        one.write("new", b"n")
        os.unlink("deep/a", dir_fd=one.fd)
        os.mkdir("made", dir_fd=one.fd)
    found = {c.path: c.kind for c in await driver.changes("one", "base")}
    wanted = {
        "/etc/group": ChangeKind.MODIFIED,
        "/new": ChangeKind.ADDED,
        "/deep/a": ChangeKind.DELETED,
        "/made": ChangeKind.ADDED,
    }
    assert found == wanted
    out = io.BytesIO()
    await driver.diff("one", "base", out)
    assert {"etc/group", "new", "deep/.wh.a", "made"} <= {n.rstrip("/") for n in names(out)}
    out.seek(0)
    await driver.apply_diff("copy", "base", out)
    await driver.create("two", "copy")
    async with Mounted(driver, "two") as two:
        assert two.read("etc/group") == b"longer than before"
        assert two.read("new") == b"n"
        assert two.names("deep") == ["b"]
        assert "made" in two.names()
    assert await driver.diff_size("one", "base") == len(b"longer than before") + len(b"n")


async def test_what_an_earlier_layer_removed_or_the_container_made_anew_is_told_as_such(
    driver: InThreads,
) -> None:
    await driver.apply_diff("base", None, layer(*BASE))
    removed = (entry(".wh.link", b""), entry("etc"), entry("etc/.wh.passwd", b""))
    await driver.apply_diff("top", "base", layer(*removed))
    await driver.create("one", "top")
    async with Mounted(driver, "one") as one:
        one.write("link", b"new")
        one.write("etc/passwd", b"new")
        for name in ("a", "b"):
            os.unlink(f"deep/{name}", dir_fd=one.fd)
        os.rmdir("deep", dir_fd=one.fd)
        os.mkdir("deep", dir_fd=one.fd)
        os.mkdir("deep/a", dir_fd=one.fd)
    found = {c.path: c.kind for c in await driver.changes("one", "top")}
    assert found.pop("/deep", ChangeKind.MODIFIED) is ChangeKind.MODIFIED  # by its mode
    assert found == {
        "/link": ChangeKind.ADDED,
        "/etc/passwd": ChangeKind.ADDED,
        "/deep/a": ChangeKind.MODIFIED,
        "/deep/b": ChangeKind.DELETED,
    }
    out = io.BytesIO()
    await driver.diff("one", "top", out)
    out.seek(0)
    await driver.apply_diff("copy", "top", out)
    await driver.create("two", "copy")
    async with Mounted(driver, "two") as two:
        assert two.names("deep") == ["a"]
        assert two.read("link") == b"new"


async def test_changes_are_sorted_by_path(driver: InThreads) -> None:
    await driver.apply_diff("base", None, layer(*BASE))
    found = await driver.changes("base", None)
    assert found == sorted(found)
    assert Change("/etc/passwd", ChangeKind.ADDED) in found


async def test_a_parent_and_what_is_mounted_are_in_use(driver: InThreads) -> None:
    await driver.apply_diff("base", None, layer(*BASE))
    await driver.create("one", "base")
    with pytest.raises(InUse, match="is the parent of one"):
        await driver.remove("base")
    async with Mounted(driver, "one"):
        with pytest.raises(InUse, match="layer one is mounted"):
            await driver.remove("one")
    await driver.remove("one")
    await driver.remove("base")
    assert await driver.keys() == []


async def test_keys_that_are_there_or_not_there_are_told(driver: InThreads) -> None:
    await driver.create("one", None)
    assert await driver.exists("one")
    assert not await driver.exists("two")
    with pytest.raises(AlreadyExists):
        await driver.create("one", None)
    for missing in (driver.remove("two"), driver.get("two"), driver.create("x", "two")):
        with pytest.raises(NotFound):
            await missing
    for wrong in ("../x", "", "A", "a" * 129, "."):
        with pytest.raises(InvalidRequest):
            await driver.create(wrong, None)


async def test_a_damaged_stream_leaves_nothing(driver: InThreads, tmp_path: Path) -> None:
    whole = layer(*BASE, entry("big", b"x" * 100_000)).getvalue()
    for damaged in (whole[: len(whole) // 2], b"\0" * 100 + os.urandom(5000)):
        with pytest.raises(CorruptData):
            await driver.apply_diff("bad", None, io.BytesIO(damaged))
    assert await driver.keys() == []
    assert list((tmp_path / "home").iterdir()) == []


async def test_debris_of_a_crash_is_swept_at_the_next_opening(row: Row, tmp_path: Path) -> None:
    driver = await row.open(tmp_path / "home")
    await driver.create("one", None)
    (tmp_path / "home" / ".half" / "diff").mkdir(parents=True)
    again = await row.open(tmp_path / "home")
    assert await again.keys() == ["one"]
    assert not (tmp_path / "home" / ".half").exists()


async def test_starting_from_an_image_does_not_copy_it(row: Row, driver: InThreads) -> None:
    await driver.apply_diff("base", None, layer(entry("big", b"x" * 5_000_000)))
    await driver.create("one", "base")
    size = sum(_sizes((await driver.metadata("one")).values()))
    assert (size >= 5_000_000) is ("shared_layers" in row.lacks)


def _sizes(directories: Iterable[str]) -> Iterator[int]:
    """Bytes of the files below directories that are a key's own."""
    for directory in directories:
        if "/one/" in directory:
            yield sum(f.stat().st_size for f in Path(directory).rglob("*") if f.is_file())


async def test_cancelled_at_any_step_nothing_half_made_stays(
    driver: InThreads, tmp_path: Path
) -> None:
    async def work() -> None:
        await driver.apply_diff("base", None, layer(*BASE))
        await driver.create("one", "base")
        async with Mounted(driver, "one") as one:
            one.read("etc/passwd")
            await trio.lowlevel.checkpoint()
        await driver.remove("one")
        await driver.remove("base")

    async def check() -> None:
        debris = [e.name for e in (tmp_path / "home").iterdir() if e.name.startswith(".")]
        assert debris == []
        for key in ("one", "base"):
            if await driver.exists(key):
                await _put_all(driver, key)
                await driver.remove(key)

    await cancel_everywhere(work, check)


async def _put_all(driver: InThreads, key: str) -> None:
    """A cancelled block has closed its descriptor, but may not have come to its `put`."""
    await driver.put(key)
