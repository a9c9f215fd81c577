"""The detach keys: read from text, and looked for in what is typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.detach import DEFAULT_KEYS, KeyFilter, parse_keys

KEYS = st.binary(min_size=1, max_size=4).map(lambda raw: bytes(b % 3 for b in raw))
TYPED = st.lists(st.binary(max_size=8).map(lambda raw: bytes(b % 3 for b in raw)))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", DEFAULT_KEYS),
        ("ctrl-p,ctrl-q", DEFAULT_KEYS),
        ("ctrl-@,ctrl-a,ctrl-z", b"\x00\x01\x1a"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1b\x1c\x1d\x1e\x1f"),
        ("a,B, ,-", b"aB -"),
        ("DEL", b"\x7f"),
    ],
)
def test_keys_are_written_as_docker_writes_them(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-1", "ctrl-ab", "ctrl-", "Ctrl-a", "ab", "a,,b", "é"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="there is no key"):
        parse_keys(text)


@given(keys=KEYS, typed=TYPED)
def test_what_comes_before_the_keys_is_passed_on_however_it_is_cut(
    keys: bytes, typed: list[bytes]
) -> None:
    looking = KeyFilter(keys)
    passed = b""
    for data in typed:
        passed += looking.feed(data)
        if looking.detached:
            break
    whole = b"".join(typed)
    before, found, _ = whole.partition(keys)
    assert looking.detached == bool(found)
    if found:
        assert passed == before
    else:
        # the beginning of the keys waits for what comes next
        held = whole[len(passed) :]
        assert whole.startswith(passed)
        assert keys.startswith(held)
