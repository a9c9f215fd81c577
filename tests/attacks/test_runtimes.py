"""Attacks on containers that runc and crun make for us. Each test names its line of ATTACKS.md.

What the runtimes do in another way than our own driver, and what harms nobody but the container: a
masked path that is a link is followed inside the container.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drivers.errors import SpawnFailed
from tests.host import mounts
from tests.native import Box, bind
from tests.oci import crun, open_oci, runc
from tests.rootfs import make_busybox_root

both = pytest.mark.parametrize("box", [runc, crun], indirect=True, ids=["runc", "crun"])
_OVERWRITE = """
for pid in /proc/[0-9]*; do
    (exec 3<$pid/exe && echo pwned >/proc/self/fd/3) 2>/dev/null && echo pwned
    echo pwned 2>/dev/null >$pid/exe && echo pwned
done
echo tried
"""


@pytest.fixture
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Box]:
    root = make_busybox_root(tmp_path / "root")
    async with open_oci(tmp_path, request.param) as (driver, keeper):
        yield Box(driver, keeper, root)  # type: ignore[arg-type]


def _digests() -> list[str]:
    found = [shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("runc", "crun")]
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in found if path]


@both
async def test_no_entrypoint_overwrites_the_runtime(box: Box) -> None:
    """ATTACKS 1."""
    before = _digests()
    for name, text in (("link", "#!/proc/self/exe\n"), ("script", f"#!/bin/sh\n{_OVERWRITE}")):
        entry = box.root / name
        entry.write_text(text)
        entry.chmod(0o755)
        ran = await box.run(f"/{name}")
        assert "pwned" not in ran.stdout
    assert ran.stdout == "tried\n"
    assert _digests() == before


@contextlib.contextmanager
def _seen_on_the_host(word: str) -> Iterator[set[str]]:
    """Mounts with a word in their place that were there for a moment. Source: proc(5), mounts."""
    seen: set[str] = set()
    is_over = threading.Event()

    def watch() -> None:
        with open("/proc/self/mountinfo") as file:
            changes = select.poll()
            changes.register(file, select.POLLPRI)
            while not is_over.is_set():
                if changes.poll(100):
                    file.seek(0)
                    places = (line.split()[4] for line in file)
                    seen.update(place for place in places if word in place)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()


@both
async def test_no_call_of_a_runtime_mounts_on_the_host(box: Box) -> None:
    """crun does, for a moment: killed then, with the daemon, it would leave the mount."""
    with _seen_on_the_host("/crun.") as seen:
        for _ in range(3):
            assert (await box.run("true")).status.code == 0
    assert seen == set()


@both
async def test_no_descriptor_of_the_host_is_reached(box: Box) -> None:
    """ATTACKS 2."""
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        assert (await box.shell("ls /proc/$$/fd; :")).stdout.split() == ["0", "1", "2"]
        for number in range(3, 20):
            for cwd in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../.."):
                with pytest.raises(ExceptionGroup):
                    await box.run("pwd", cwd=cwd)
    finally:
        os.close(leaked)


@both
async def test_links_in_a_mount_target_stay_in_the_root(box: Box, tmp_path: Path) -> None:
    """ATTACKS 4, 10: what is made is made in the image, never on the host."""
    host = tmp_path / "host"
    (tmp_path / "data").mkdir()
    (box.root / "up").symlink_to("../" * 20 + str(host))
    (box.root / "way").symlink_to("/proc/self/root")
    before = mounts()
    for target in ("/up/x", "/way/tmp/x", "/proc/self/root/x"):
        # refused, or made in the image: either will do
        with bind(tmp_path / "data", target) as mount, contextlib.suppress(ExceptionGroup):
            await box.run("true", mounts=(mount,))
    assert not host.exists()
    assert list((tmp_path / "data").iterdir()) == []
    assert mounts() == before


@both
async def test_an_images_dev_null_is_not_what_masks(box: Box) -> None:
    """ATTACKS 5."""
    secret = box.root / "secret"
    secret.write_text("secret\n")
    (box.root / "dev/null").symlink_to("/secret")
    script = (
        "stat -c %t:%T /proc/keys /proc/timer_list /dev/null; cat /proc/keys; echo x >/dev/null"
    )
    assert (await box.shell(script)).stdout.split() == ["1:3"] * 3
    assert secret.read_text() == "secret\n"


@both
@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("kind", ["link", "link to the host", "file"])
async def test_a_mount_point_that_is_no_directory_is_refused(
    box: Box, name: str, kind: str, tmp_path: Path
) -> None:
    """ATTACKS 8, 9: runc itself makes links on the host where /dev leads to."""
    victim, inside = tmp_path / "victim", box.root / "victim"
    for directory in (victim, inside):
        directory.mkdir()
    (box.root / name).rmdir()
    if kind == "file":
        (box.root / name).touch()
    else:
        to = "/victim" if kind == "link" else "../" * 20 + str(victim)
        (box.root / name).symlink_to(to)
    with pytest.raises(ExceptionGroup) as caught:
        await box.run("true")
    assert caught.group_contains(SpawnFailed, match=r"^mount (proc|sysfs|dev): (ELOOP|ENOTDIR)")
    assert list(victim.iterdir()) == list(inside.iterdir()) == []


@both
@pytest.mark.parametrize("user", ["", "alice", "4711"])
async def test_no_capability_can_be_inherited(box: Box, user: str) -> None:
    """ATTACKS 14."""
    ran = await box.shell("grep -E 'CapInh|CapAmb' /proc/self/status", user=user)
    assert ran.stdout.split() == ["CapInh:", "0" * 16, "CapAmb:", "0" * 16]
