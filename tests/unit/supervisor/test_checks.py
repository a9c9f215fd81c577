"""Values that no host could start a container with."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from drivers.errors import InvalidRequest, NotImplementedYet
from supervisor.checks import check_values
from supervisor.spec import ContainerSpec

SPEC = ContainerSpec(name="aa", cmd=("true",), hostname="box", env=("A=1", "HOME"))


def check(**fields: Any) -> None:
    check_values(msgspec.structs.replace(SPEC, **fields))


def test_what_can_be_passes() -> None:
    check(
        oom_score_adj=-1000,
        extra_hosts=("db:10.0.0.1", "six:::1"),
        dns=("10.0.0.1", "::1"),
        domainname="example.org",
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cmd": ("a\0b",)}, "a NUL character"),
        ({"domainname": "a\0"}, "a NUL character"),
        ({"env": ("=x",)}, "invalid environment variable: =x"),
        ({"hostname": "a\n127.0.0.1 b"}, "invalid hostname"),
        ({"hostname": "a" * 65}, "invalid hostname"),
        ({"domainname": "a b"}, "invalid domainname"),
        ({"extra_hosts": ("db",)}, "bad format for add-host: 'db'"),
        ({"extra_hosts": (":10.0.0.1",)}, "bad format for add-host"),
        ({"extra_hosts": ("a\nb:10.0.0.1",)}, "bad format for add-host"),
        ({"extra_hosts": ("db:10.0.0.1\nroot",)}, "bad format for add-host"),
        ({"extra_hosts": ("db:10.0.0",)}, "invalid IP address in add-host: '10.0.0'"),
        ({"dns": ("a b",)}, "invalid IP address in dns: 'a b'"),
        ({"oom_score_adj": 1001}, "range for oom score adj"),
        ({"shm_size_bytes": -1}, "SHM size can not be less than 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        check(**fields)


def test_the_gateway_of_the_host_comes_with_bridges() -> None:
    with pytest.raises(NotImplementedYet, match="host-gateway"):
        check(extra_hosts=("db:host-gateway",))
