"""What `docker diff` shows; each line here is what dockerd 20.10 shows, by overlay2 and by vfs."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import running_daemon
from tests.system.daemon import Daemon

pytestmark = pytest.mark.same_everywhere

_DIRECTORIES = ("dev", "proc", "sys", "etc", "a", "a/b", "a/b/c", "mnt")
_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "a/b/c/file")
_IMAGES = {"bare": ((), ()), "full": (_DIRECTORIES, _FILES)}


@pytest.fixture(scope="module", params=["overlay", "vfs"])
def creched(busybox: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon with an image that has busybox only, and one that has all places for mounts."""
    options = ["--storage-driver", request.param]
    for daemon in running_daemon(busybox, configure=lambda _: options):
        for name, (directories, files) in _IMAGES.items():
            archive = daemon.directory / f"{name}.tar"
            _write_root(archive, directories, files)
            daemon.docker("import", archive, name, check=True)
        yield daemon


def _write_root(archive: Path, directories: tuple[str, ...], files: tuple[str, ...]) -> None:
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    with tarfile.open(archive, "w") as tar:
        for name in ("bin", *directories):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, data in (("bin/busybox", busybox), *((name, b"old\n") for name in files)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))


def _diff(creched: Daemon, options: list[str], image: str, script: str) -> list[str]:
    command = [image, "/bin/busybox", "sh", "-ec", f'PATH=/bin; b() {{ busybox "$@"; }}; {script}']
    name = creched.docker("create", *options, *command, check=True).stdout.strip()
    creched.docker("start", "-a", name, check=True)
    shown = creched.docker("diff", name, check=True).stdout.splitlines()
    creched.docker("rm", name, check=True)
    return sorted(shown, key=lambda line: line[2:])


def test_what_no_image_needs_to_have_is_made_once_for_all_containers(creched: Daemon) -> None:
    name = creched.docker("run", "-d", "bare", "/bin/busybox", "true", check=True).stdout.strip()
    creched.docker("wait", name, check=True)
    shown = creched.docker("inspect", "-f", "{{json .GraphDriver}}", name, check=True).stdout
    graph = json.loads(shown)
    own = graph["Data"].get("UpperDir")
    assert (own is None) == (graph["Name"] == "vfs")
    assert own is None or os.listdir(own) == []
    creched.docker("rm", name, check=True)


@pytest.mark.parametrize(
    ("image", "options", "script", "shown"),
    [
        ("bare", [], ":", []),
        ("full", [], ":", []),
        ("bare", [], "echo x >/etc/foo", ["C /etc", "A /etc/foo"]),
        ("full", [], "echo x >/etc/foo", ["C /etc", "A /etc/foo"]),
        ("full", ["-v", "/tmp:/mnt/in"], ":", ["C /mnt", "A /mnt/in"]),
        ("bare", ["-v", "/tmp:/mnt/in"], ":", ["A /mnt", "A /mnt/in"]),
        ("bare", ["-w", "/w", "--tmpfs", "/t"], ":", ["A /t", "A /w"]),
        ("bare", ["--init"], ":", ["A /sbin", "A /sbin/docker-init"]),
        ("full", ["--device", "/dev/fuse:/dev/x"], ":", []),
        (
            "full",
            [],
            "echo y >/a/b/c/file; b mkdir -p /x/y",
            ["C /a", "C /a/b", "C /a/b/c", "C /a/b/c/file", "A /x", "A /x/y"],
        ),
        ("full", [], "b rm /a/b/c/file", ["C /a", "C /a/b", "C /a/b/c", "D /a/b/c/file"]),
        ("full", [], "b rm -r /a/b", ["C /a", "D /a/b"]),
        ("full", [], "b chmod 700 /a/b", ["C /a", "C /a/b"]),
        (
            "full",
            [],
            "b rm -r /a/b; b mkdir /a/b; echo x >/a/b/z",
            ["C /a", "C /a/b", "D /a/b/c", "A /a/b/z"],
        ),
        ("full", [], "b mkdir /mnt/x; b rmdir /mnt/x", []),
        (
            "full",
            [],
            "b mv /a/b /a/m",
            ["C /a", "D /a/b", "A /a/m", "A /a/m/c", "A /a/m/c/file"],
        ),
    ],
)
def test_what_the_container_changed_is_shown_and_no_place_for_our_mounts(
    creched: Daemon, image: str, options: list[str], script: str, shown: list[str]
) -> None:
    assert _diff(creched, options, image, script) == shown


def test_files_may_come_and_go_meanwhile(creched: Daemon) -> None:
    script = "while :; do busybox mkdir -p /x/y/z; busybox rm -r /x; done"
    command = ["full", "/bin/busybox", "sh", "-c", f"PATH=/bin; {script}"]
    name = creched.docker("run", "-d", *command, check=True).stdout.strip()
    for _ in range(15):
        shown: subprocess.CompletedProcess[str] = creched.docker("diff", name, check=True)
        assert set(shown.stdout.splitlines()) <= {"A /x", "A /x/y", "A /x/y/z", "C /x", "C /x/y"}
    creched.docker("rm", "-f", name, check=True)
