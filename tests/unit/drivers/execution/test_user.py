from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.errors import InvalidRequest
from drivers.execution.user import Identity, look_up

_PASSWD = """root:x:0:0:root:/root:/bin/sh
# a comment
alice:x:1000:1001::/home/alice:/bin/sh
broken line
huge:x:4294967296:0::/:/bin/sh
"""
_GROUP = """root:x:0:
staff:x:1001:
wheel:x:10:bob,alice
audio:x:29:alice
"""


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Callable[..., Identity]]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(_PASSWD)
    (tmp_path / "etc/group").write_text(_GROUP)
    root_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield lambda user, added=(): look_up(root_fd, user, added)
    os.close(root_fd)


@pytest.mark.parametrize(
    ("user", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (0,), "/root"),
        ("root", 0, 0, (0,), "/root"),
        ("alice", 1000, 1001, (1001, 10, 29), "/home/alice"),
        ("1000", 1000, 1001, (1001, 10, 29), "/home/alice"),
        ("alice:10", 1000, 10, (10,), "/home/alice"),
        ("alice:wheel", 1000, 10, (10,), "/home/alice"),
        ("4711", 4711, 0, (0,), "/"),
        ("4711:4712", 4711, 4712, (4712,), "/"),
        ("0002000", 2000, 0, (0,), "/"),
        ("2147483647", 2**31 - 1, 0, (0,), "/"),
    ],
)
def test_users_are_found_as_docker_finds_them(
    look: Callable[..., Identity],
    user: str,
    uid: int,
    gid: int,
    groups: tuple[int, ...],
    home: str,
) -> None:
    assert look(user) == Identity(uid=uid, gid=gid, groups=groups, home=home)


def test_groups_are_added_by_name_and_number(look: Callable[..., Identity]) -> None:
    assert look("alice", ("root", "77", "29")).groups == (1001, 10, 29, 0, 77)


@pytest.mark.parametrize(
    "user",
    ["2147483648", "4294967296", "4294967295", "-1", "+5", "9" * 5000, "huge", "0:2147483648"],
)
def test_an_id_outside_the_range_is_refused_and_never_root(
    look: Callable[..., Identity], user: str
) -> None:
    """ATTACKS 13."""
    with pytest.raises(InvalidRequest, match="must be in range 0-2147483647"):
        look(user)


@pytest.mark.parametrize("user", ["nobody", "0x10", "1 000", "٣", ":nobody"])
def test_a_name_without_an_entry_is_refused(look: Callable[..., Identity], user: str) -> None:
    with pytest.raises(InvalidRequest, match=r"unable to find|must be in range"):
        look(user)


def test_a_root_without_the_files_has_numbers_only(tmp_path: Path) -> None:
    root_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    assert look_up(root_fd, "5:6") == Identity(uid=5, gid=6, groups=(6,), home="/")
    with pytest.raises(InvalidRequest):
        look_up(root_fd, "root")
    os.close(root_fd)


def test_links_in_the_image_do_not_lead_to_the_hosts_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/etc/passwd")  # itself, seen from the root
    (tmp_path / "etc/group").symlink_to("../../../../../etc/group")
    root_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(InvalidRequest):
        look_up(root_fd, "daemon:daemon")
    os.close(root_fd)


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/group")
    root_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    assert look_up(root_fd, "", ("7",)).groups == (0, 7)
    os.close(root_fd)
