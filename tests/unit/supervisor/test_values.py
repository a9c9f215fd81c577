"""The pure values and decisions: states, restart policy, specs."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import states
from supervisor.restart import count_failures, next_delay_s, wants_restart
from supervisor.spec import ContainerSpec, ImageDefaults, RestartPolicy, merge_env, resolve
from supervisor.states import DOWN, MOVES, UP, IllegalMove, Record, State


def test_every_state_has_its_moves_and_is_either_up_down_or_being_removed() -> None:
    assert set(MOVES) == set(State)
    assert UP | DOWN | {State.REMOVING, State.DEAD} == set(State)
    assert not UP & DOWN


def test_a_move_that_is_not_in_the_table_is_a_bug() -> None:
    with pytest.raises(IllegalMove, match="created -> running"):
        states.move(Record(), State.RUNNING)


def test_every_state_has_dockers_and_supervisors_words() -> None:
    for state in State:
        record = Record(state=state, pid=1)
        assert record.docker_status
        assert record.supervisor_state.name


@pytest.mark.parametrize(
    ("name", "code", "ready", "wanted"),
    [
        ("no", 1, True, False),
        ("always", 0, True, True),
        ("unless-stopped", 0, True, True),
        ("on-failure", 0, True, False),
        ("on-failure", 1, True, True),
        ("on-failure", 0, False, True),
    ],
)
def test_policies_restart_as_docker_does(name: str, code: int, ready: bool, wanted: bool) -> None:
    policy = RestartPolicy(name=name)  # type: ignore[arg-type]
    assert wants_restart(policy, exit_code=code, was_ready=ready, failures=1) is wanted


@given(
    failures=st.integers(1, 10_000),
    factor=st.floats(1, 10),
    jitter=st.floats(0, 1),
    seed=st.integers(),
)
def test_delays_stay_within_their_bounds(
    failures: int, factor: float, jitter: float, seed: int
) -> None:
    policy = RestartPolicy(delay_min_s=0.5, delay_max_s=60, factor=factor, jitter=jitter)
    delay_s = next_delay_s(policy, failures=failures, rng=random.Random(seed))
    assert 0.5 * (1 - jitter) - 1e-9 <= delay_s <= 60 * (1 + jitter) + 1e-9


def test_failures_count_up_until_a_long_run() -> None:
    policy = RestartPolicy(reset_after_s=10)
    assert count_failures(policy, earlier=4, ran_s=9.9) == 5
    assert count_failures(policy, earlier=4, ran_s=10) == 1


def test_the_command_and_the_entrypoint_combine_by_dockers_rules() -> None:
    image = ImageDefaults(entrypoint=("e",), cmd=("c",))
    assert resolve(ContainerSpec(), image).argv == ("e", "c")
    assert resolve(ContainerSpec(cmd=("x",)), image).argv == ("e", "x")
    assert resolve(ContainerSpec(entrypoint=("y",)), image).argv == ("y",)
    assert resolve(ContainerSpec(entrypoint=("y",), cmd=("x",)), image).argv == ("y", "x")


def test_variables_of_the_request_win_and_a_bare_name_removes() -> None:
    merged = merge_env(("A=1", "B=2", "C=3"), ("B=x", "C"))
    assert [item for item in merged if not item.startswith("PATH=")] == ["A=1", "B=x"]
    assert any(item.startswith("PATH=") for item in merged)


def test_specs_survive_being_stored() -> None:
    spec = resolve(ContainerSpec(id="a" * 64, name="x", cmd=("c",)), ImageDefaults())
    assert msgspec.json.decode(msgspec.json.encode(spec), type=ContainerSpec) == spec
