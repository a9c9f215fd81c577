"""Names of kernel parameters lead to files below /proc/sys, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import InvalidRequest
from drivers.execution.sysctl import path_of


def test_a_slash_in_a_part_is_a_dot_of_the_file() -> None:
    assert path_of("net.ipv4.ip_forward") == "net/ipv4/ip_forward"
    assert path_of("net.ipv4.conf.eth0/5.rp_filter") == "net/ipv4/conf/eth0.5/rp_filter"


@pytest.mark.parametrize("name", ["", ".", "a..b", "/.x", "net.//.x", ".net", "net.", "a\0b", "//"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    """ATTACKS 7."""
    with pytest.raises(InvalidRequest, match="invalid sysctl"):
        path_of(name)


@given(st.text(alphabet="a./", max_size=12))
def test_no_name_has_a_part_that_moves(name: str) -> None:
    try:
        parts = path_of(name).split("/")
    except InvalidRequest:
        return
    assert not {"", ".", ".."} & set(parts)
