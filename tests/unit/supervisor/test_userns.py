"""Maps of ids: what may be asked for, and who has which."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ConfigError, Conflict, InvalidRequest
from supervisor.config import DaemonConfig
from supervisor.id_pool import DEFAULT_START, Pool, UserMaps
from supervisor.spec import ContainerSpec, Isolation, UserMap
from supervisor.subids import open_user_maps
from supervisor.userns import RANGE, Caller, check_mode, checked, parse_map
from tests.cancel import cancel_everywhere
from tests.unit.supervisor.world import FOREVER, World, open_world

ALICE = Caller(uid=1000, gid=100)
_numbers = itertools.count()


def spec(mode: str, **fields: object) -> ContainerSpec:
    asked = ContainerSpec(id=f"{next(_numbers)}", isolation=Isolation(userns_mode=mode))
    return msgspec.structs.replace(asked, **fields)


def assign(maps: UserMaps, asked: ContainerSpec, caller: Caller = ALICE) -> ContainerSpec:
    with maps.assigned(asked, caller) as assigned:
        return assigned


def user_map(maps: UserMaps, mode: str, caller: Caller = ALICE) -> UserMap:
    found = assign(maps, spec(mode), caller).user_map
    assert found is not None
    return found


@pytest.mark.parametrize(
    "mode", ["", "host", "auto", "auto:size=1", "keep-id", "keep-id:uid=5,gid=6"]
)
def test_what_podman_and_docker_know_is_known(mode: str) -> None:
    check_mode(mode)


@pytest.mark.parametrize(
    "mode",
    [
        *("auto:", "auto:size=0", "auto:size=-1", "auto:size=2147483648", "auto:size=4294967296"),
        *("auto:size=1,size=2", "auto:size= 1", "auto:uidmapping=0:1:1", "autox", "host:x", "x"),
        *("keep-id:", "keep-id:uid=-1", "map", "map:x"),
    ],
)
def test_anything_else_is_refused_with_its_name(mode: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid userns m") as caught:
        check_mode(mode)
    assert caught.value.field == "UsernsMode"


def test_groups_are_as_users_unless_they_are_said() -> None:
    lines = ((0, 100, 10), (10, 500, 20))
    assert parse_map("map:uid=0:100:10,uid=10:500:20") == UserMap(uids=lines, gids=lines)
    assert parse_map("map:uid=0:1:2,gid=0:3:4") == UserMap(uids=((0, 1, 2),), gids=((0, 3, 4),))


_line = st.tuples(*[st.integers(-2, 2**33)] * 3)


@given(st.lists(_line, max_size=4))
def test_a_map_that_is_taken_has_no_id_twice_and_none_too_big(
    lines: list[tuple[int, int, int]],
) -> None:
    """ATTACKS 13."""
    text = "map:" + ",".join(f"uid={first}:{host}:{size}" for first, host, size in lines)
    try:
        taken = parse_map(text)
    except InvalidRequest:
        return
    for index in (0, 1):
        spans = sorted((line[index], line[index] + line[2]) for line in taken.uids)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
        assert spans[0][0] >= 0
        assert spans[-1][1] <= 2**31


def test_ranges_are_private_and_free_again() -> None:
    maps = UserMaps(Pool(uid_start=1000, gid_start=900_000, size=2 * RANGE))
    one, two = assign(maps, spec("auto")), assign(maps, spec("auto"))
    assert one.user_map == UserMap(uids=((0, 1000, RANGE),), gids=((0, 900_000, RANGE),))
    assert two.user_map == UserMap(
        uids=((0, 1000 + RANGE, RANGE),), gids=((0, 900_000 + RANGE, RANGE),)
    )
    with pytest.raises(Conflict, match="no free range of user ids: 65536 are asked"):
        assign(maps, spec("auto"))
    maps.give_back(one.id)
    maps.give_back(one.id)
    assert assign(maps, spec("auto")).user_map == one.user_map


def test_a_failed_creation_gives_its_range_back() -> None:
    maps = UserMaps(Pool(size=RANGE))
    with pytest.raises(ZeroDivisionError), maps.assigned(spec("auto"), ALICE):
        raise ZeroDivisionError
    assert user_map(maps, "auto").uids == ((0, DEFAULT_START, RANGE),)


def test_ids_of_a_given_map_are_nobody_elses_either() -> None:
    maps = UserMaps(Pool(uid_start=1000, gid_start=1000, size=10 * RANGE))
    assign(maps, spec(f"map:uid=0:{1000 + RANGE - 1}:2"))
    assert user_map(maps, "auto").uids == ((0, 1000 + RANGE + 1, RANGE),)
    # what is below is large enough for a smaller one
    assert user_map(maps, f"auto:size={RANGE - 1}").uids == ((0, 1000, RANGE - 1),)


def test_ranges_of_any_size_fill_the_pool_and_no_more() -> None:
    maps = UserMaps(Pool(uid_start=1000, gid_start=5000, size=100))
    first, second = assign(maps, spec("auto:size=30")), assign(maps, spec("auto:size=70"))
    assert second.user_map == UserMap(uids=((0, 1030, 70),), gids=((0, 5030, 70),))
    with pytest.raises(Conflict, match="1 are asked for, and the pool has 100"):
        assign(maps, spec("auto:size=1"))
    maps.give_back(first.id)
    with pytest.raises(Conflict):
        assign(maps, spec("auto:size=31"))
    assert user_map(maps, "auto:size=10").uids == ((0, 1000, 10),)
    assert user_map(maps, "auto:size=20").gids == ((0, 5010, 20),)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=40))
def test_no_two_containers_have_an_id_in_common(steps: list[tuple[bool, int]]) -> None:
    maps = UserMaps(Pool(uid_start=1000, gid_start=1000, size=200))
    held: list[ContainerSpec] = []
    for removes, size in steps:
        if removes and held:
            maps.give_back(held.pop(size % len(held)).id)
            continue
        with contextlib.suppress(Conflict):
            held.append(assign(maps, spec(f"auto:size={size}")))
        ids = [
            host + n
            for one in held
            if one.user_map is not None
            for _, host, count in one.user_map.uids
            for n in range(count)
        ]
        assert len(ids) == len(set(ids))
        assert all(1000 <= number < 1200 for number in ids)


def test_the_caller_keeps_its_ids() -> None:
    maps = UserMaps(Pool(uid_start=100_000, gid_start=100_000))
    asked = spec("keep-id")
    found = assign(maps, asked)
    assert found.user == "1000:100"
    assert found.user_map == UserMap(
        uids=((0, 100_000, 1000), (1000, 1000, 1), (1001, 101_001, RANGE - 1001)),
        gids=((0, 100_000, 100), (100, 100, 1), (101, 100_101, RANGE - 101)),
    )
    again = user_map(maps, "keep-id:uid=0,gid=0")
    start = 100_000 + RANGE
    assert again.uids == ((0, 1000, 1), (1, start + 1, RANGE - 1))
    assert assign(maps, spec("keep-id", user="alice")).user == "alice"


@pytest.mark.parametrize("caller", [Caller(), Caller(uid=1000), Caller(uid=70_000, gid=1)])
def test_who_cannot_keep_its_ids_is_told(caller: Caller) -> None:
    with pytest.raises(InvalidRequest, match=r"the caller is root|is above 65535"):
        user_map(UserMaps(Pool()), "keep-id", caller)


def test_no_map_is_made_for_the_hosts_ids() -> None:
    for mode in ("", "host"):
        assert assign(UserMaps(Pool()), spec(mode)).user_map is None
    assert assign(UserMaps(Pool(), "auto"), spec("host")).user_map is None
    assert assign(UserMaps(Pool(), "auto"), spec("")).user_map is not None


def test_too_many_lines_are_refused() -> None:
    lines = tuple((n, n, 1) for n in range(341))
    with pytest.raises(InvalidRequest, match="more than 340 lines"):
        checked(UserMap(uids=lines, gids=lines))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    subuid, subgid = tmp_path / "subuid", tmp_path / "subgid"
    subuid.write_text("creche:500000:131072\nalice:700000:65536\nalice:10:5\n# creche:1:1\n")
    subgid.write_text("creche:600000:262144\nstaff:800000:65536\nbroken\n")
    return subuid, subgid


def test_the_pool_is_what_the_administrator_set_aside(files: tuple[Path, Path]) -> None:
    subuid, subgid = files
    maps = open_user_maps(DaemonConfig(), subuid=subuid, subgid=subgid)
    assert user_map(maps, "auto") == UserMap(
        uids=((0, 500_000, RANGE),), gids=((0, 600_000, RANGE),)
    )
    user_map(maps, "auto")
    with pytest.raises(Conflict):
        user_map(maps, "auto")
    nowhere = subuid.with_name("nowhere")
    maps = open_user_maps(DaemonConfig(), subuid=nowhere, subgid=nowhere)
    assert user_map(maps, "auto").uids == ((0, DEFAULT_START, RANGE),)


def test_all_containers_may_be_a_users(files: tuple[Path, Path]) -> None:
    subuid, subgid = files
    config = DaemonConfig(userns_remap="alice:staff")
    found = user_map(open_user_maps(config, subuid=subuid, subgid=subgid), "")
    assert found.uids == ((0, 700_000, 65536), (65536, 10, 5))
    assert found.gids == ((0, 800_000, 65536),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"userns_remap": "bob"}, "userns-remap: bob has no ids in .*subuid"),
        ({"userns_remap": "alice"}, "userns-remap: alice has no ids in .*subgid"),
        ({"userns_pool_start": 2**31}, "ids are 1-2147483647"),
        ({"userns_pool_start": 2**31 - 1, "userns_pool_size": 65536}, "ids are 1-2147483647"),
        ({"userns_pool_start": -1}, "ids are 1-2147483647"),
        ({"userns_pool_start": 1000, "userns_pool_size": 10}, "less than the 65536"),
    ],
)
def test_wrong_settings_are_told(
    files: tuple[Path, Path], fields: dict[str, object], message: str
) -> None:
    config = msgspec.structs.replace(DaemonConfig(), **fields)
    with pytest.raises(ConfigError, match=message):
        open_user_maps(config, subuid=files[0], subgid=files[1])


async def test_the_map_is_kept_with_the_container(tmp_path: Path) -> None:
    isolation = Isolation(userns_mode="auto")
    async with open_world(tmp_path, {}) as world:
        one = await world.make("one", *FOREVER, isolation=isolation)
        two = await world.make("two", *FOREVER, isolation=isolation)
        await world.manager.remove("one")
    async with open_world(tmp_path, {}) as world:
        await world.manager.restore()
        assert world.manager.find("two").spec.user_map == two.spec.user_map
        three = await world.make("three", *FOREVER, isolation=isolation)
        four = await world.make("four", *FOREVER, isolation=isolation)
    assert three.spec.user_map == one.spec.user_map
    maps = [c.spec.user_map for c in (two, three, four)]
    assert len({m.uids for m in maps if m}) == 3


async def test_a_range_is_free_again_when_the_creation_is_cancelled_at_any_step(
    tmp_path: Path,
) -> None:
    made: list[World] = []

    async def work() -> None:
        async with open_world(Path(tempfile.mkdtemp(dir=tmp_path)), {}) as world:
            made.append(world)
            await world.make("aa", *FOREVER, isolation=Isolation(userns_mode="auto"))
            await world.manager.remove("aa")
            await world.make("aa", *FOREVER, isolation=Isolation(userns_mode="auto"))

    async def check() -> None:
        for world in made[-1:]:
            there = {container.id for container in world.manager.all()}
            assert world.manager._user_maps._taken.keys() == there

    assert await cancel_everywhere(work, check) > 10
