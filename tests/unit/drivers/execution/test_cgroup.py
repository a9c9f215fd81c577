"""The group of one container, on this host's real file systems; on files where they cannot show."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from drivers.errors import DriverError, LimitUnavailable
from drivers.execution import cgroup_apply
from drivers.execution.cgroup import ControlGroup, detect, leftovers
from drivers.execution.cgroup_directories import Directories
from drivers.execution.hierarchy import Hierarchy
from drivers.execution.resources import Limits
from tests.cancel import cancel_everywhere
from tests.cgroups import both, eventually, open_group, running_in
from tests.native import is_dead

_MIB = 1 << 20
_FORKS = "while :; do sleep 0.01 & done"

on_both = pytest.mark.parametrize("hierarchy", both(), ids=lambda h: f"v{h.version}")
only_v1 = pytest.mark.parametrize(
    "hierarchy", [h for h in both() if h.version == 1], ids=lambda h: f"v{h.version}"
)


def _files(group: ControlGroup, hierarchy: Hierarchy, controller: str) -> Path:
    name = hierarchy.holding(controller)
    assert name is not None
    return hierarchy.directories(group.path)[name]


@on_both
async def test_a_group_is_made_joined_and_removed(hierarchy: Hierarchy) -> None:
    async with open_group(hierarchy) as group:
        parent = os.path.dirname(group.path)
        assert leftovers(hierarchy, parent) == ["k"]
        assert group.pids() == []
        async with running_in(group, "exec sleep 1000") as process:
            await eventually(lambda: process.pid in group.pids())
            group.kill()
            assert process.wait() == -signal.SIGKILL
    assert leftovers(hierarchy, parent) == []


@on_both
async def test_a_group_that_exists_is_not_taken_over(hierarchy: Hierarchy) -> None:
    async with open_group(hierarchy) as group:
        again = ControlGroup(hierarchy, os.path.dirname(group.path), "k", Limits())
        with pytest.raises(DriverError, match=f"make control group {group.path}"):
            again.create()


@on_both
async def test_removing_ends_what_is_in_it_and_in_groups_below(hierarchy: Hierarchy) -> None:
    async with open_group(hierarchy) as group:
        below = _files(group, hierarchy, "freezer") / "below"
        below.mkdir()
        join = f"echo 0 > {below}/cgroup.procs; exec sleep 1000"
        async with running_in(group, join) as process:
            await eventually((below / "cgroup.procs").read_text)
            assert process.pid in group.pids()
            await group.remove()
            assert process.wait() == -signal.SIGKILL
        assert not below.parent.exists()


@on_both
async def test_a_paused_group_stands_still_and_goes_on(hierarchy: Hierarchy) -> None:
    async with (
        open_group(hierarchy) as group,
        running_in(group, "while :; do :; done & exec yes") as process,
    ):
        assert process.stdout is not None
        output = process.stdout.fileno()
        await trio.lowlevel.wait_readable(output)
        await group.freeze()
        await group.freeze()
        before = [_ticks(pid) for pid in group.pids()]
        assert len(before) == 2
        await trio.sleep(0.05)  # more than a tick of work, if any were done
        assert [_ticks(pid) for pid in group.pids()] == before
        group.thaw()
        group.thaw()
        await eventually(lambda: sum(_ticks(pid) for pid in group.pids()) > sum(before))


def _ticks(pid: int) -> int:
    """The processor time of a process so far. Source: proc_pid_stat(5), fields 14 and 15."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


@on_both
async def test_a_fork_bomb_is_paused_and_killed_as_a_whole(hierarchy: Hierarchy) -> None:
    limits = Limits(pids=100) if hierarchy.version == detect().version else Limits()
    async with open_group(hierarchy, limits) as group, running_in(group, _FORKS):
        await eventually(lambda: len(group.pids()) > 20)
        await group.freeze()
        frozen = group.pids()
        assert group.pids() == frozen
        group.kill()
        await eventually(lambda: all(is_dead(pid) for pid in [*frozen, *group.pids()]))


@on_both
async def test_killing_reaches_groups_below_that_froze_themselves(hierarchy: Hierarchy) -> None:
    async with open_group(hierarchy) as group:
        below = _files(group, hierarchy, "freezer") / "below"
        below.mkdir()
        join = f"echo 0 > {below}/cgroup.procs; exec sleep 1000"
        async with running_in(group, join) as process:
            await eventually((below / "cgroup.procs").read_text)
            if hierarchy.version == 2:
                (below / "cgroup.freeze").write_text("1")
            else:
                (below / "freezer.state").write_text("FROZEN")
            group.kill()
            await eventually(lambda: process.poll() is not None)


@on_both
async def test_pausing_cancelled_at_any_step_leaves_nothing_paused(hierarchy: Hierarchy) -> None:
    async with (
        open_group(hierarchy) as group,
        running_in(group, "while :; do :; done") as process,
    ):
        completed = []

        async def work() -> None:
            await group.freeze()
            completed.append(True)

        async def check() -> None:
            if not completed:
                before = _ticks(process.pid)
                await eventually(lambda: _ticks(process.pid) > before)

        await cancel_everywhere(work, check)


@only_v1
async def test_this_hosts_limits_are_set_changed_and_taken_away(hierarchy: Hierarchy) -> None:
    limits = Limits(memory_bytes=64 * _MIB, pids=50, nano_cpus=500_000_000, cpuset_cpus="0")
    async with open_group(hierarchy, limits) as group:
        memory = _files(group, hierarchy, "memory")
        both_limits = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")

        def shown() -> list[int]:
            return [int((memory / file).read_text()) // _MIB for file in both_limits]

        assert shown() == [64, 128]
        for mebibytes, total in ((128, 256), (32, 32), (256, 300)):
            group.update(
                Limits(memory_bytes=mebibytes * _MIB, memory_swap_bytes=total * _MIB, pids=50)
            )
            assert shown() == [mebibytes, total]
        cpu, cpuset = (_files(group, hierarchy, name) for name in ("cpu", "cpuset"))
        assert (cpu / "cpu.cfs_quota_us").read_text() == "-1\n"
        assert (cpuset / "cpuset.cpus").read_text() == (cpuset.parent / "cpuset.cpus").read_text()
        group.update(Limits())
        assert shown()[0] > 1 << 40
        assert (_files(group, hierarchy, "pids") / "pids.max").read_text() == "max\n"


@only_v1
async def test_running_processes_join_controllers_that_an_update_needs(
    hierarchy: Hierarchy,
) -> None:
    async with (
        open_group(hierarchy) as group,
        running_in(group, "sleep 1000 & exec sleep 1000") as process,
    ):
        await eventually(lambda: len(group.pids()) == 2)
        assert not {"cpu", "cpuset", "pids"} & set(",".join(group.hierarchies).split(","))
        group.update(Limits(cpu_shares=100, cpuset_cpus="0", pids=9))
        for controller in ("cpu", "cpuset", "pids"):
            joined = (_files(group, hierarchy, controller) / "cgroup.procs").read_text()
            assert [int(pid) for pid in joined.split()] == group.pids()
        assert os.sched_getaffinity(process.pid) == {0}
        group.update(Limits())
        assert os.sched_getaffinity(process.pid) == os.sched_getaffinity(0)


@only_v1
async def test_an_update_that_fails_leaves_the_old_limits(hierarchy: Hierarchy) -> None:
    old = Limits(memory_bytes=64 * _MIB, pids=50, cpu_shares=100)
    async with open_group(hierarchy, old) as group:
        with pytest.raises(LimitUnavailable, match="cpuset cpus cannot be limited here"):
            group.update(Limits(memory_bytes=32 * _MIB, cpu_shares=7, cpuset_cpus="4000", pids=1))
        memory, cpu, pids = (_files(group, hierarchy, name) for name in ("memory", "cpu", "pids"))
        assert (memory / "memory.limit_in_bytes").read_text() == f"{64 * _MIB}\n"
        assert (memory / "memory.memsw.limit_in_bytes").read_text() == f"{128 * _MIB}\n"
        assert (cpu / "cpu.shares").read_text() == "100\n"
        assert (pids / "pids.max").read_text() == "50\n"
        group.update(old)


@only_v1
async def test_less_memory_than_is_held_is_refused(hierarchy: Hierarchy) -> None:
    async with open_group(hierarchy, Limits(memory_bytes=256 * _MIB)) as group:
        memory = _files(group, hierarchy, "memory")
        hold = "head -c 67108864 /dev/zero | tail -c 67108864 | sleep 1000"
        async with running_in(group, hold):
            await eventually(
                lambda: int((memory / "memory.usage_in_bytes").read_text()) > 60 * _MIB
            )
            with pytest.raises(LimitUnavailable, match="memory cannot be limited here"):
                group.update(Limits(memory_bytes=8 * _MIB))
            assert int((memory / "memory.limit_in_bytes").read_text()) == 256 * _MIB


@only_v1
async def test_only_the_controllers_that_are_needed_are_joined(hierarchy: Hierarchy) -> None:
    small = ControlGroup(hierarchy, "/creche-unit", "k", Limits())
    busy = ControlGroup(hierarchy, "/creche-unit", "k", Limits(pids=1, blkio_weight=10))
    assert "pids" not in ",".join(small.hierarchies)
    assert set(busy.hierarchies) > set(small.hierarchies)
    assert "devices" in ",".join(small.hierarchies)


@on_both
async def test_what_a_group_uses_is_what_its_processes_use(hierarchy: Hierarchy) -> None:
    async with (
        open_group(hierarchy) as group,
        running_in(group, "while :; do :; done") as process,
    ):
        await eventually(lambda: _ticks(process.pid) >= 30)
        await group.freeze()
        usage, own_usec = group.usage(), _ticks(process.pid) * 10_000
        assert 0.5 < usage.cpu.total_usec / own_usec < 2
        if hierarchy.version == detect().version:  # else the memory is counted elsewhere
            assert usage.pids == 1
            assert usage.memory.max_usage_bytes > 0


def test_a_limit_without_its_controller_names_both(tmp_path: Path) -> None:
    (tmp_path / "pids/creche/k").mkdir(parents=True)
    hierarchy = Hierarchy(version=1, mounts={"pids": tmp_path / "pids"})
    at = Directories(hierarchy, "/creche", "k", None)
    with pytest.raises(LimitUnavailable, match=r"memory cannot be limited here.*limit_in_bytes"):
        cgroup_apply.replace(at, Limits(), Limits(memory_bytes=1 << 26))


@pytest.mark.parametrize("limits", [Limits(oom_kill_disable=True), Limits(memory_swappiness=1)])
def test_what_v2_does_not_have_is_refused(tmp_path: Path, limits: Limits) -> None:
    (tmp_path / "creche/k").mkdir(parents=True)
    at = Directories(Hierarchy(version=2, mounts={"": tmp_path}), "/creche", "k", None)
    with pytest.raises(LimitUnavailable, match=r"cannot be limited here: .*version 2"):
        cgroup_apply.replace(at, Limits(), limits)


def _files_of_v2(path: Path, names: tuple[str, ...]) -> Directories:
    """A directory that looks like a group of v2 with the files of some limits."""
    for level in (path, path / "creche"):
        level.mkdir(exist_ok=True)
        (level / "cgroup.controllers").write_text("cpu memory pids")
        (level / "cgroup.subtree_control").write_text("")
    (path / "creche/k").mkdir()
    for name in names:
        (path / "creche/k" / name).write_text("")
    return Directories(Hierarchy(version=2, mounts={"": path}), "/creche", "k", None)


def test_v2_limits_are_written_to_its_files_and_written_back(tmp_path: Path) -> None:
    files = ("memory.max", "memory.swap.max", "pids.max", "io.weight", "memory.stat")
    at = _files_of_v2(tmp_path, files)
    old = Limits(memory_bytes=64 << 20, memory_swap_bytes=96 << 20, pids=7, blkio_weight=1000)
    cgroup_apply.replace(at, Limits(), old)

    def written() -> dict[str, str]:
        return {file: (tmp_path / "creche/k" / file).read_text() for file in files[:-1]}

    first = written()
    assert first == {
        "memory.max": "67108864",
        "memory.swap.max": "33554432",
        "pids.max": "7",
        "io.weight": "10000",  # there is no io.bfq.weight
    }
    with pytest.raises(LimitUnavailable, match=r"cpu time cannot be limited here.*cpu\.max"):
        cgroup_apply.replace(at, old, Limits(memory_bytes=1 << 20, nano_cpus=1_000_000_000))
    assert written() | {"pids.max": "7"} == first
    (tmp_path / "creche/k/memory.stat").write_text(f"anon {2 << 20}\n")
    with pytest.raises(LimitUnavailable, match="holds 2097152 bytes that it cannot give back"):
        cgroup_apply.replace(at, old, Limits(memory_bytes=1 << 20))


def test_v2_hands_controllers_down_again_if_they_were_taken_away(tmp_path: Path) -> None:
    at = _files_of_v2(tmp_path, ())
    at.hierarchy.handed_down.add("/creche")
    with pytest.raises(LimitUnavailable):
        cgroup_apply.replace(at, Limits(), Limits(pids=1))
    assert (tmp_path / "creche/cgroup.subtree_control").read_text().startswith("+")


@pytest.mark.parametrize("text", ["low 0\noom_kill 2\n", "oom_kill 2\noom_group_kill 0\n"])
def test_oom_kills_are_counted_by_the_kernel(tmp_path: Path, text: str) -> None:
    group = ControlGroup(Hierarchy(version=2, mounts={"": tmp_path}), "/creche", "k", Limits())
    assert group.oom_kills() == 0
    (tmp_path / "creche/k").mkdir(parents=True)
    (tmp_path / "creche/k/memory.events").write_text(text)
    assert group.oom_kills() == 2


async def test_each_time_memory_is_used_up_is_told_while_the_group_lives() -> None:
    told: list[bool] = []
    # the shell lives on; what it starts is killed
    script = "for _ in 1 2 3; do tail /dev/zero; read _; done; exec sleep 1000"
    async with open_group(detect(), Limits(memory_bytes=16 * _MIB)) as group:
        async with running_in(group, script) as process:
            assert process.stdin is not None
            await eventually(lambda: group.oom_kills() == 1)  # before there is a watch
            async with trio.open_nursery() as nursery:
                nursery.start_soon(group.watch_oom, lambda: told.append(True))
                await eventually(lambda: len(told) == 1)
                os.write(process.stdin.fileno(), b"\n")
                await eventually(lambda: len(told) == 2)
                os.write(process.stdin.fileno(), b"\n")
                await eventually(lambda: len(told) == 3)
                assert process.poll() is None
                await group.remove()
                # the watch ends with the group
        assert len(told) == 3


@on_both
async def test_a_number_that_is_not_in_the_group_any_more_is_not_killed(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ATTACKS 42: between the look and the signal its process ended, and another one has it."""
    forever = "exec sleep 1000000"
    async with (
        open_group(hierarchy) as group,
        open_group(hierarchy) as elsewhere,
        running_in(group, forever) as one,
        running_in(elsewhere, forever) as other,
    ):
        looks = iter([{one.pid, other.pid}])
        pids = group._at.pids
        monkeypatch.setattr(group._at, "pids", lambda: next(looks, None) or pids())
        group.kill()
        assert one.wait() == -signal.SIGKILL
        assert other.poll() is None
