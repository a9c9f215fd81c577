"""Which control groups this host has, on files that stand for its mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.errors import DriverError
from drivers.execution.hierarchy import (
    Hierarchy,
    detect,
    fill_cpuset,
    hand_down,
    has_block_weights,
    v2_flags,
)

_V1 = """31 23 0:28 / {0} rw - tmpfs tmpfs rw
32 31 0:29 / {0}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / {0}/memory rw,relatime shared:9 - cgroup cgroup rw,memory
38 31 0:35 / {0}/pids rw,relatime - cgroup cgroup rw,pids
39 31 0:36 / {0}/freezer rw,relatime - cgroup cgroup rw,xattr,freezer
40 31 0:37 / {0}/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
_V2 = "41 31 0:38 / {0}/unified rw,relatime - cgroup2 cgroup2 rw\n"


def _mountinfo(path: Path, text: str, controllers: str | None = None) -> Path:
    if controllers is not None:
        (path / "unified").mkdir()
        (path / "unified/cgroup.controllers").write_text(controllers)
    (path / "mountinfo").write_text(text.format(path))
    return path / "mountinfo"


def test_mounts_of_v1_are_named_by_their_controllers(tmp_path: Path) -> None:
    found = detect(_mountinfo(tmp_path, _V1))
    assert found.version == 1
    assert set(found.mounts) == {"cpu,cpuacct", "memory", "pids", "freezer"}
    assert found.holding("cpuacct") == "cpu,cpuacct"
    assert found.holding("blkio") is None


def test_a_hybrid_host_keeps_its_controllers_in_v1(tmp_path: Path) -> None:
    assert detect(_mountinfo(tmp_path, _V1 + _V2, "")).version == 1


def test_v2_wins_where_it_has_the_controllers(tmp_path: Path) -> None:
    found = detect(_mountinfo(tmp_path, _V1 + _V2, "cpu memory pids\n"))
    assert (found.version, dict(found.mounts)) == (2, {"": tmp_path / "unified"})


def test_the_flags_of_v2_are_those_of_its_mount(tmp_path: Path) -> None:
    flagged = _V2.replace("cgroup2 rw", "cgroup2 rw,nsdelegate,memory_recursiveprot")
    assert v2_flags(_mountinfo(tmp_path, _V1 + flagged)) == ("nsdelegate", "memory_recursiveprot")
    assert v2_flags(_mountinfo(tmp_path, _V1 + _V2)) == ()
    assert v2_flags(_mountinfo(tmp_path, _V1)) == ()


def test_a_host_without_any_control_groups_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="no control group file system is mounted"):
        detect(_mountinfo(tmp_path, "1 0 8:1 / / rw - ext4 /dev/vda rw\n"))


def test_v2_hands_down_what_is_there_and_not_handed_down_yet(tmp_path: Path) -> None:
    for level in (tmp_path, tmp_path / "creche"):
        level.mkdir(exist_ok=True)
        (level / "cgroup.controllers").write_text("cpu memory rdma")
        (level / "cgroup.subtree_control").write_text("cpu")
    hierarchy = Hierarchy(version=2, mounts={"": tmp_path})
    hand_down(hierarchy, "/creche")
    for level in (tmp_path, tmp_path / "creche"):
        assert (level / "cgroup.subtree_control").read_text() == "+memory"
    assert hierarchy.handed_down == {"/creche"}


def test_a_cpuset_is_filled_from_the_level_above_unless_it_has_its_own(tmp_path: Path) -> None:
    values = {"": "0-3", "creche": "", "creche/k": "", "creche/own": "1"}
    for level, value in values.items():
        (tmp_path / level).mkdir(exist_ok=True)
        (tmp_path / level / "cpuset.cpus").write_text(f"{value}\n")
        (tmp_path / level / "cpuset.mems").write_text("0\n")
    fill_cpuset(str(tmp_path), "/creche/k")
    fill_cpuset(str(tmp_path), "/creche/own")
    found = {level: (tmp_path / level / "cpuset.cpus").read_text().strip() for level in values}
    assert found == {"": "0-3", "creche": "0-3", "creche/k": "0-3", "creche/own": "1"}


@pytest.mark.parametrize(
    ("files", "known"),
    [
        ([], True),  # nothing to tell by
        (["a/io.stat"], False),
        (["a/io.stat", "b/io.stat", "b/io.bfq.weight"], True),
        (["a/io.stat", "a/io.weight"], True),
        (["a/cgroup.procs"], True),  # the controller is not handed down to it
    ],
)
def test_a_group_below_the_root_tells_whether_there_are_weights(
    tmp_path: Path, files: list[str], known: bool
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert has_block_weights(Hierarchy(version=2, mounts={"": tmp_path})) is known


def test_without_the_controller_there_are_no_weights(tmp_path: Path) -> None:
    assert not has_block_weights(Hierarchy(version=1, mounts={"memory": tmp_path}))
