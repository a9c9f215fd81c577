"""Joining the namespaces of other containers; the neighbour is this process."""

from __future__ import annotations

import dataclasses
import os
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from drivers.errors import Conflict, InvalidRequest, NotFound
from supervisor.joining import FindNeighbour, Neighbour, join, with_ids
from supervisor.spec import ContainerSpec, Isolation, UnitInfo, UserMap

BOTH = Isolation(pid_mode="container:x", ipc_mode="container:x")


def neighbour(*, pid: int = -1, ticks: int = -1, ipc_mode: str = "shareable") -> FindNeighbour:
    """Finds this process, whatever it is asked for, but for the name `nope`."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()

    def find(ref: str) -> Neighbour:
        if ref == "nope":
            raise NotFound(f"No such container: {ref}")
        return Neighbour(
            id="1d",
            pid=os.getpid() if pid < 0 else pid,
            start_time_ticks=int(stat[19]) if ticks < 0 else ticks,
            ipc_mode=ipc_mode,
        )

    return find


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_what_is_joined_is_open_until_the_start_is_over() -> None:
    before = descriptors()
    with ExitStack() as held:
        joined = join(BOTH, neighbour(), held)
        assert isinstance(joined.pid, int)
        assert isinstance(joined.ipc, int)
        assert [m.target for m in joined.mounts] == ["/dev/shm"]
        assert len(descriptors()) > len(before)
    assert descriptors() == before


@pytest.mark.parametrize("ipc_mode", ["", "private", "none"])
def test_what_is_private_cannot_be_joined(ipc_mode: str) -> None:
    before = descriptors()
    with ExitStack() as held, pytest.raises(Conflict, match="non-shareable IPC"):
        join(Isolation(ipc_mode="container:x"), neighbour(ipc_mode=ipc_mode), held)
    assert descriptors() == before


@pytest.mark.parametrize("find", [neighbour(pid=0), neighbour(ticks=1)])
def test_a_process_that_has_ended_cannot_be_joined(find: FindNeighbour) -> None:
    with ExitStack() as held, pytest.raises(Conflict, match=r"^container 1d is not running$"):
        join(Isolation(pid_mode="container:x"), find, held)
    with ExitStack() as held, pytest.raises(Conflict, match=r"^can.t join IPC of container 1d: "):
        join(Isolation(ipc_mode="container:x"), find, held)


def test_a_joined_container_is_known_by_its_id_but_for_units() -> None:
    spec = ContainerSpec(isolation=BOTH)
    assert with_ids(spec, neighbour()).isolation == Isolation(
        pid_mode="container:1d", ipc_mode="container:1d"
    )
    unit = UnitInfo(unit="u", group="u", file="f", digest="d")
    assert with_ids(ContainerSpec(isolation=BOTH, unit=unit), neighbour()).isolation == BOTH
    with pytest.raises(InvalidRequest, match="No such container: nope"):
        with_ids(ContainerSpec(isolation=Isolation(pid_mode="container:nope")), neighbour())


_IDS = UserMap(uids=((0, 1000, 10),), gids=((0, 1000, 10),))
_OTHERS = UserMap(uids=((0, 2000, 10),), gids=((0, 1000, 10),))


def with_map(user_map: UserMap | None) -> FindNeighbour:
    return lambda ref: dataclasses.replace(neighbour()(ref), id=ref, user_map=user_map)


@pytest.mark.parametrize("theirs", [None, _OTHERS])
@pytest.mark.parametrize("kind", ["pid_mode", "ipc_mode"])
def test_who_has_ids_shares_nothing_with_who_has_others(kind: str, theirs: UserMap | None) -> None:
    isolation = msgspec.structs.replace(Isolation(), **{kind: "container:x"})
    with ExitStack() as held, pytest.raises(InvalidRequest, match="of container x: it has other"):
        join(isolation, with_map(theirs), held, _IDS)


def test_who_shares_processes_and_ids_is_in_the_user_namespace() -> None:
    with ExitStack() as held:
        joined = join(BOTH, with_map(_IDS), held, _IDS)
        assert isinstance(joined.pid, int)
        assert joined.user == joined.pid
    assert join(Isolation(), with_map(_IDS), held, _IDS).user == "new"


@pytest.mark.parametrize("pid_mode", ["", "container:y"])
def test_ipc_is_shared_with_who_shares_its_processes(pid_mode: str) -> None:
    isolation = Isolation(ipc_mode="container:x", pid_mode=pid_mode)
    with ExitStack() as held, pytest.raises(InvalidRequest, match="without its PID namespace"):
        join(isolation, with_map(_IDS), held, _IDS)
