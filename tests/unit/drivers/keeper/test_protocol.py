from __future__ import annotations

import os
import socket

import pytest

from drivers.keeper import protocol


@pytest.mark.parametrize("size", [0, 1000, protocol.PACKET_BYTES, 3_000_000])
def test_messages_of_any_size_arrive_with_their_descriptors(size: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with ours, theirs:
        protocol.send(ours, {"n": 1, "text": "x" * size}, [writer])
        received = protocol.receive(theirs)
    assert received is not None
    message, (fd,) = received
    assert message == {"n": 1, "text": "x" * size}
    assert os.fstat(fd).st_ino == os.fstat(reader).st_ino
    assert not os.get_inheritable(fd)
    for each in (reader, writer, fd):
        os.close(each)


def test_bytes_that_are_no_text_arrive_as_they_were() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        protocol.send(ours, {"argv": [os.fsdecode(b"\xff\xfe ok")]})
        received = protocol.receive(theirs)
    assert received is not None
    assert os.fsencode(received[0]["argv"][0]) == b"\xff\xfe ok"


def test_a_closed_peer_is_the_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.close()
        assert protocol.receive(ours) is None
