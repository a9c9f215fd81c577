from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import InvalidRequest, SpawnFailed
from drivers.execution.base import Command, Device, MountAt, Pipes, Rlimit
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.plan import explain_limit, make_plan
from drivers.execution.resources import Limits
from drivers.keeper.plan import ContainerPlan, Words, from_text, to_text

_PIPES = Pipes(stdin=0, stdout=1, stderr=2)


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def _made(root_fd: int, **options: Any) -> tuple[ContainerPlan, Words]:
    defaults: dict[str, Any] = {"argv": ("sh",), "env": ("PATH=/bin",)}
    command = Command(key="k", root_fd=root_fd, **{**defaults, **options})
    group = ControlGroup(Hierarchy(version=2, mounts={"": Path("/x")}), "/creche", "k", Limits())
    return make_plan(command, _PIPES, group)


def test_home_is_added_unless_it_is_there(root_fd: int) -> None:
    assert _made(root_fd)[1].env == ["PATH=/bin", "HOME=/"]
    assert _made(root_fd, env=("HOME=/h",))[1].env == ["HOME=/h"]


def test_a_command_without_a_slash_is_looked_for_in_its_own_path(root_fd: int) -> None:
    assert _made(root_fd, env=("PATH=/a:", "PATH=/b::c"))[0].search == ["/b", ".", "c"]
    assert _made(root_fd, argv=("./sh",))[0].search == []


def test_containers_of_a_kind_have_the_same_plan(root_fd: int) -> None:
    first, second = (
        to_text(_made(root_fd, argv=("sh", name), hostname=name)[0]) for name in ("a", "b")
    )
    assert first == second


def test_a_plan_is_the_same_after_its_journey(root_fd: int) -> None:
    device = Device(path="/dev/x", kind="c", major=1, minor=3)
    plan, _ = _made(root_fd, devices=(device,), sysctls=(("net.ipv4.ip_forward", "1"),))
    assert to_text(from_text(to_text(plan))) == to_text(plan)


def test_capabilities_and_limits_become_numbers(root_fd: int) -> None:
    plan, _ = _made(
        root_fd,
        capabilities=frozenset({"CAP_KILL", "CAP_CHOWN"}),
        rlimits=(Rlimit(name="nofile", soft=10, hard=20),),
    )
    assert plan.capabilities == [0, 5]
    assert plan.rlimits == [(7, 10, 20)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"argv": ()}, "no command specified"),
        ({"argv": ("a\0b",)}, "a NUL character in"),
        ({"argv": ("\ud800",)}, "no text"),
        ({"env": ("novalue",)}, "invalid environment variable: 'novalue'"),
        ({"env": ("=x",)}, "invalid environment variable: '=x'"),
        ({"hostname": "a\0"}, "a NUL character in"),
        ({"capabilities": frozenset({"CAP_FLY"})}, "unknown capability 'CAP_FLY'"),
        ({"rlimits": (Rlimit(name="hair", soft=1, hard=1),)}, "invalid ulimit type: hair"),
        ({"mounts": (MountAt(fd=3, target="/"),)}, "invalid mount target '/'"),
        ({"mounts": (MountAt(fd=3, target="data"),)}, "invalid mount target 'data'"),
        ({"mounts": (MountAt(fd=3, target="/x/../proc/1"),)}, "inside /proc"),
    ],
)
def test_nonsense_is_refused_by_name(root_fd: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        _made(root_fd, **options)


def test_a_limit_that_was_refused_is_named() -> None:
    told = explain_limit(SpawnFailed("set rlimit 7", 1))
    assert told == (
        "ulimit nofile cannot be set: operation not permitted "
        "(raising it needs CAP_SYS_RESOURCE, and fs.nr_open is the most)"
    )
    assert explain_limit(SpawnFailed("mount proc", 1)) is None
