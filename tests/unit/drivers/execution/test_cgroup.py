"""Control groups on directories that stand for a hierarchy, and on the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.errors import DriverError, LimitUnavailable
from drivers.execution.cgroup import ControlGroup, Hierarchy, detect, leftovers
from drivers.execution.resources import Limits

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


def test_a_host_without_any_control_groups_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="no control group file system is mounted"):
        detect(_mountinfo(tmp_path, "1 0 8:1 / / rw - ext4 /dev/vda rw\n"))


def _v2(path: Path, controllers: str = "cpu memory pids") -> Hierarchy:
    """A directory that looks like a v2 hierarchy with two levels."""
    for level in (path, path / "creche"):
        level.mkdir(exist_ok=True)
        (level / "cgroup.controllers").write_text(controllers)
        (level / "cgroup.subtree_control").write_text("")
    return Hierarchy(version=2, mounts={"": path})


def test_v2_limits_are_written_where_the_kernel_reads_them(tmp_path: Path) -> None:
    limits = Limits(
        memory_bytes=64 << 20, memory_swap_bytes=96 << 20, nano_cpus=1_500_000_000, pids=7
    )
    group = ControlGroup(_v2(tmp_path), "/creche", "k", limits)
    group.create()
    written = {f.name: f.read_text() for f in (tmp_path / "creche/k").iterdir()}
    assert written == {
        "memory.max": "67108864",
        "memory.swap.max": "33554432",
        "cpu.max": "150000 100000",
        "pids.max": "7",
    }
    assert (tmp_path / "creche/cgroup.subtree_control").read_text().startswith("+")


def test_v1_uses_only_the_controllers_that_are_needed(tmp_path: Path) -> None:
    mounts = {name: tmp_path / name for name in ("cpu,cpuacct", "memory", "pids", "freezer")}
    for path in mounts.values():
        path.mkdir()
    hierarchy = Hierarchy(version=1, mounts=mounts)
    ControlGroup(hierarchy, "/creche", "small", Limits()).create()
    ControlGroup(hierarchy, "/creche", "busy", Limits(nano_cpus=500_000_000)).create()
    assert not (tmp_path / "cpu,cpuacct/creche/small").exists()
    assert (tmp_path / "cpu,cpuacct/creche/busy/cpu.cfs_quota_us").read_text() == "50000"
    assert leftovers(hierarchy, "/creche") == ["busy", "small"]


def test_a_limit_without_its_controller_names_both(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    hierarchy = Hierarchy(version=1, mounts={"pids": tmp_path / "pids"})
    group = ControlGroup(hierarchy, "/creche", "k", Limits(memory_bytes=1 << 26))
    with pytest.raises(LimitUnavailable, match=r"memory cannot be limited here.*limit_in_bytes"):
        group.create()


def test_a_group_that_exists_is_not_taken_over(tmp_path: Path) -> None:
    hierarchy = _v2(tmp_path)
    ControlGroup(hierarchy, "/creche", "k", Limits()).create()
    with pytest.raises(DriverError, match="make control group /creche/k"):
        ControlGroup(hierarchy, "/creche", "k", Limits()).create()


@pytest.mark.parametrize("text", ["low 0\noom_kill 2\n", "oom_kill 2\noom_group_kill 0\n"])
def test_oom_kills_are_counted_by_the_kernel(tmp_path: Path, text: str) -> None:
    group = ControlGroup(_v2(tmp_path), "/creche", "k", Limits())
    group.create()
    assert group.oom_kills() == 0
    (tmp_path / "creche/k/memory.events").write_text(text)
    assert group.oom_kills() == 2


async def test_this_hosts_groups_are_made_and_removed() -> None:
    hierarchy = detect()
    group = ControlGroup(hierarchy, "/creche-unit", "k", Limits(memory_bytes=1 << 26, pids=5))
    group.create()
    assert leftovers(hierarchy, "/creche-unit") == ["k"]
    assert group.pids() == []
    await group.remove()
    assert leftovers(hierarchy, "/creche-unit") == []
    for path in hierarchy.directories("/creche-unit").values():
        if path.exists():
            path.rmdir()
