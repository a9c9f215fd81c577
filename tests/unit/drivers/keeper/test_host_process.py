"""Programs of the host that the keeper runs, and orphans that it adopts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from drivers.errors import SpawnFailed
from drivers.keeper.client import FORGET_S, Keeper, open_keeper
from drivers.keeper.plan import HostPlan, Words
from drivers.keeper.spawning import Spawned
from drivers.kernel import mount
from tests.cancel import cancel_everywhere
from tests.host import mounts

_ENV = ["PATH=/usr/bin:/bin"]
# leaves a process behind, writes its number, and ends
_ORPHAN = 'sh -c "$2" & echo $! >"$1"'


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def _shell(*arguments: str) -> Words:
    return Words(argv=["/bin/sh", "-c", *arguments], env=_ENV)


async def _code(keeper: Keeper, key: str, spawned: Spawned) -> int:
    """The exit code of a process, whose descriptor is closed."""
    end = await keeper.wait(key)
    os.close(spawned.pidfd)
    return os.waitstatus_to_exitcode(end.status)


async def test_a_program_of_the_host_has_three_descriptors_and_its_own_session(
    null: int, tmp_path: Path
) -> None:
    script = f"ls /proc/self/fd >{tmp_path}/fds; cut -d' ' -f6 /proc/$$/stat; pwd; exit 5"
    reader, writer = os.pipe2(os.O_CLOEXEC)
    plan = HostPlan(cwd="/usr")
    async with open_keeper() as keeper:
        spawned = await keeper.spawn_host("h", plan, _shell(script), [null, writer, null])
        os.close(writer)
        assert await _code(keeper, "h", spawned) == 5
        assert await keeper.kept() == {}
    assert os.read(reader, 1000).decode() == f"{spawned.pid}\n/usr\n"
    os.close(reader)
    # the fourth is that of the directory which `ls` reads
    assert (tmp_path / "fds").read_text().split() == ["0", "1", "2", "3"]


async def test_its_mounts_are_its_own_and_go_with_it(null: int, tmp_path: Path) -> None:
    target, source = tmp_path / "target", tmp_path / "source"
    for directory in (target, source):
        directory.mkdir()
    (source / "file").touch()
    before = mounts()
    tree = mount.open_tree_clone(str(source))
    plan = HostPlan(mount_targets=[str(target)], private_mounts=True)
    look = _shell(f"test -e {target}/file")
    async with open_keeper() as keeper:
        spawned = await keeper.spawn_host("h", plan, look, [null, null, null, tree])
        os.close(tree)
        assert mounts() == before
        assert await _code(keeper, "h", spawned) == 0
    assert mounts() == before


async def test_a_program_that_is_not_there_is_told(null: int) -> None:
    async with open_keeper() as keeper:
        with pytest.raises(SpawnFailed, match='exec: "/nope": stat'):
            await keeper.spawn_host("h", HostPlan(), Words(argv=["/nope"], env=[]), [null] * 3)
        assert await keeper.kept() == {}


@pytest.mark.parametrize("ended_before", [False, True])
async def test_an_orphan_is_adopted_while_it_runs_and_after_its_end(
    null: int, tmp_path: Path, ended_before: bool
) -> None:
    file = tmp_path / "pid"
    life = "exit 7" if ended_before else "trap 'exit 7' TERM; echo; while :; do sleep 0.01; done"
    reader, writer = os.pipe2(os.O_CLOEXEC)
    async with open_keeper() as keeper:
        words = _shell(_ORPHAN, "-", str(file), life)
        parent = await keeper.spawn_host("h", HostPlan(), words, [null, writer, null])
        os.close(writer)
        assert await _code(keeper, "h", parent) == 0
        await trio.to_thread.run_sync(os.read, reader, 1)  # its trap is set, or it has ended
        os.close(reader)
        pid = int(file.read_text())
        while ended_before and os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, ASYNC240
            await trio.sleep(0.001)  # nothing tells that an orphan has been reaped
        spawned = await keeper.adopt("o", pid)
        assert (spawned.pid, spawned.start_time_ticks > 0) == (pid, True)
        if not ended_before:
            assert await keeper.kept() == {"o": pid}
            await keeper.signal("o", signal.SIGTERM)
        assert await _code(keeper, "o", spawned) == 7
        assert await keeper.kept() == {}


async def test_only_an_orphan_is_adopted() -> None:
    async with open_keeper() as keeper:
        with pytest.raises(SpawnFailed, match="adopt process: ESRCH"):
            await keeper.adopt("o", os.getpid())
        assert await keeper.kept() == {}


async def test_cancelled_at_any_step_nothing_of_a_program_is_left(null: int) -> None:
    async with open_keeper() as keeper:

        async def work() -> None:
            spawned = await keeper.spawn_host("h", HostPlan(), _shell("exit 3"), [null] * 3)
            with trio.CancelScope(shield=True):
                assert await _code(keeper, "h", spawned) == 3

        async def check() -> None:
            assert await keeper.kept() == {}

        await cancel_everywhere(work, check)


async def test_who_has_ended_is_forgotten_and_not_who_has_its_key_now(null: int) -> None:
    async with open_keeper() as keeper:
        for _ in range(3):  # the next begins before the keeper has been told to forget the last
            spawned = await keeper.spawn_host("h", HostPlan(), _shell("exit 3"), [null] * 3)
            assert await _code(keeper, "h", spawned) == 3
        spawned = await keeper.spawn_host("h", HostPlan(), _shell("exec sleep 1000"), [null] * 3)
        await trio.sleep(2 * FORGET_S)
        assert await keeper.kept() == {"h": spawned.pid}
        await keeper.signal("h", signal.SIGKILL)
        assert await _code(keeper, "h", spawned) == -signal.SIGKILL


async def test_an_end_that_is_known_late_is_no_end_of_who_has_the_key_now(null: int) -> None:
    async with open_keeper() as keeper:
        spawned = await keeper.spawn_host("h", HostPlan(), _shell("exit 3"), [null] * 3)
        assert await _code(keeper, "h", spawned) == 3
        late, keeper._known = keeper._known, []
        spawned = await keeper.spawn_host("h", HostPlan(), _shell("exec sleep 1000"), [null] * 3)
        keeper._known[:0] = late
        await keeper._send({"op": "forget"}, [])
        assert await keeper.kept() == {"h": spawned.pid}
        await keeper.signal("h", signal.SIGKILL)
        assert await _code(keeper, "h", spawned) == -signal.SIGKILL
        await keeper._send({"op": "forget"}, [])
        assert await keeper.kept() == {}


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_what_the_keepers_queue_has_no_room_for_is_asked_later(
    null: int, is_given_up: bool
) -> None:
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    async with open_keeper() as keeper, trio.open_nursery() as nursery:
        os.kill(keeper.pid, signal.SIGSTOP)
        try:
            for _ in range(2000):
                nursery.start_soon(keeper.kept)
            await trio.testing.wait_all_tasks_blocked()
            async with keeper.spawning("h") as spawning:
                spawning.ask(HostPlan(), _shell("exit 3"), [null, null, null, namespace])
                assert not spawning.is_under_way
                if is_given_up:
                    with trio.move_on_after(0.1) as scope:
                        await spawning.made()
                    assert scope.cancelled_caught
                    return
                os.kill(keeper.pid, signal.SIGCONT)
                spawned = await spawning.made()
            assert await _code(keeper, "h", spawned) == 3
        finally:
            os.kill(keeper.pid, signal.SIGCONT)
            os.close(namespace)
