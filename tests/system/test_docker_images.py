"""Images by the real docker client."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.rootfs import make_busybox_root
from tests.system.daemon import REPOSITORY, Daemon
from tests.system.wire import ask

pytestmark = pytest.mark.same_everywhere


def test_load_list_inspect_tag_and_remove(creched: Daemon, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    maker = REPOSITORY / "contrib" / "busybox_image.py"
    subprocess.run([sys.executable, maker, archive, "other:1"], check=True)
    loaded = creched.docker("load", "-i", archive, check=True)
    assert loaded.stdout == "Loaded image: other:1\n"
    assert "other" in creched.docker("images", check=True).stdout
    shown = creched.docker("image", "inspect", "-f", "{{.RepoTags}}", "other:1", check=True).stdout
    assert "other:1" in shown
    creched.docker("tag", "other:1", "localhost:5000/third:x", check=True)
    removed = creched.docker("rmi", "localhost:5000/third:x", check=True)
    assert removed.stdout == "Untagged: localhost:5000/third:x\n"
    creched.docker("rmi", "other:1", check=True)
    assert creched.docker("image", "inspect", "other:1").returncode == 1


def test_a_compressed_archive_loads(creched: Daemon, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    maker = REPOSITORY / "contrib" / "busybox_image.py"
    subprocess.run([sys.executable, maker, archive, "packed:1"], check=True)
    subprocess.run(["gzip", archive], check=True)
    loaded = creched.docker("load", "-i", f"{archive}.gz", check=True)
    assert loaded.stdout == "Loaded image: packed:1\n"
    creched.docker("rmi", "packed:1", check=True)


def test_import_takes_a_root_file_system_with_changes(creched: Daemon, tmp_path: Path) -> None:
    root = make_busybox_root(tmp_path / "root")
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".")
    change = 'CMD ["echo", "changed"]'
    creched.docker("import", "-c", change, "-c", "ENV X=1", archive, "imported:1", check=True)
    assert creched.docker("run", "--rm", "imported:1", check=True).stdout == "changed\n"
    out = creched.docker("run", "--rm", "imported:1", "sh", "-c", "echo $X", check=True).stdout
    assert out == "1\n"


def test_a_truncated_archive_is_refused_and_leaves_nothing(creched: Daemon, tmp_path: Path) -> None:
    whole = creched.image.read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    before = creched.docker("images", "-q", check=True).stdout
    refused = creched.docker("load", "-i", tmp_path / "cut.tar")
    assert refused.returncode == 1
    assert "damaged or cut off" in refused.stderr
    assert creched.docker("images", "-q", check=True).stdout == before
    assert not list((creched.directory / "root" / "tmp").iterdir())


def test_an_image_in_use_is_not_removed(creched: Daemon) -> None:
    creched.docker("create", "--name", "user", "busybox", check=True)
    refused = creched.docker("rmi", "busybox")
    assert "(must force) - a container is using its referenced image" in refused.stderr
    image = creched.docker("images", "-q", "busybox", check=True).stdout.strip()
    for_good = creched.docker("rmi", "-f", image)
    assert "(cannot be forced) - image is being used by a container" in for_good.stderr
    untagged = creched.docker("rmi", "-f", "busybox", check=True)
    assert untagged.stdout == "Untagged: busybox:latest\n"
    creched.docker("start", "user", check=True)
    creched.docker("rm", "-f", "user", check=True)
    creched.docker("tag", image, "busybox", check=True)


def test_the_history_of_an_image_tells_the_size_of_each_step(creched: Daemon) -> None:
    shown = creched.docker("history", "--human=false", "--format", "{{.Size}}", "busybox")
    size = creched.docker("image", "inspect", "-f", "{{.Size}}", "busybox", check=True).stdout
    assert shown.stdout == size != "0\n"


def test_an_unknown_image_is_told_with_the_way_out(creched: Daemon) -> None:
    done = creched.docker("run", "--rm", "nosuch", "true")
    assert done.returncode == 125
    assert "use `docker load` or `docker import`" in done.stderr
    status, said = ask(creched, "GET", "/images/nosuch/json")  # old clients have their own words
    assert status == 404
    assert b"No such image: nosuch:latest" in said
