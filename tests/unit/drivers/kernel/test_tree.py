"""Trees of any depth and shape are removed, and nothing else."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.kernel.tree import remove_tree

DEPTH = 3000  # more than the interpreter calls, or than there are descriptors


def _make_deep(top: Path, depth: int) -> None:
    """Directories in one another, each with a file; by descriptors, for no path is as long."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=fd)
        inner = os.open("deep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(fd)
        fd = inner
    os.close(fd)


def test_a_tree_deeper_than_paths_and_descriptors_go(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    _make_deep(top, DEPTH)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, DEPTH // 2), hard))
    try:
        remove_tree(top)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_all_kinds_of_files_and_branches(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for branch in ("a/b/c", "a/d", "e", "f/g"):
        (top / branch).mkdir(parents=True)
        (top / branch / "file").write_text("x")
    (top / "empty").mkdir()
    os.mkfifo(top / "a" / "pipe")
    (top / "e" / "dangling").symlink_to("nowhere")
    remove_tree(top)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_removed_and_not_where_it_leads(tmp_path: Path) -> None:
    kept, top = tmp_path / "kept", tmp_path / "top"
    kept.mkdir()
    (kept / "file").write_text("x")
    (top / "in").mkdir(parents=True)
    (top / "in" / "link").symlink_to(kept)
    remove_tree(top)
    assert (kept / "file").read_text() == "x"
    assert not top.exists()


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "link")
    assert tmp_path.is_dir()


def test_who_moves_the_directory_that_it_is_in_leads_it_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may still have a descriptor of one: he renames what is being emptied."""
    home = tmp_path / "home"
    (home / "top/a/b/c/full").mkdir(parents=True)
    (home / "top/a/b/c/full/file").write_text("x")
    (home / "a/kept").mkdir(parents=True)
    rmdir = os.rmdir

    def moving(name: str, *, dir_fd: int | None = None) -> None:
        full = home / "top/a/b/c/full"
        if name == "full" and full.exists() and os.listdir(full) == []:
            (home / "top/a/b/c").rename(home / "c")
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", moving)
    with pytest.raises(OSError, match="directories are moved in it"):
        remove_tree(home / "top")
    assert (home / "a/kept").exists()
    assert sorted(entry.name for entry in home.iterdir()) == ["a", "c", "top"]


_OVER_A_MOUNT = """
import os, subprocess, sys
from drivers.kernel.tree import remove_tree

kept, top = sys.argv[1:]
subprocess.run(["mount", "--bind", kept, f"{top}/a/b"], check=True)
before = len(os.listdir("/proc/self/fd"))
try:
    remove_tree(top)
except OSError as error:
    print(error.strerror, len(os.listdir("/proc/self/fd")) - before)
"""


def test_a_mount_is_told_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    kept, top = tmp_path / "kept", tmp_path / "top"
    kept.mkdir()
    (kept / "file").write_text("x")
    (top / "a" / "b").mkdir(parents=True)
    apart = ["unshare", "--mount", sys.executable, "-c", _OVER_A_MOUNT, kept, top]
    told = subprocess.run(apart, capture_output=True, text=True, check=True).stdout
    assert told == "Device or resource busy 0\n"
    assert (kept / "file").read_text() == "x"
