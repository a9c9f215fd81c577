"""What the daemon and the keeper say to each other.

A connected pair of SOCK_SEQPACKET sockets; each message is one JSON object in one packet, file
descriptors beside it (SCM_RIGHTS, unix(7)). A message too long for a packet travels in a memfd,
which is then the first descriptor, and the packet holds `{"in_memfd": true, "n": 1}`.

The daemon asks; where there is a number the answer repeats it:

    {"op": "spawn", "n": 1, "key": K, "plan": TEXT, "bounding": [0, 1], "words": {...}}
                                                      see plan.py; the plan's descriptors
    {"op": "adopt", "n": 4, "key": K, "pid": P}       an orphan that is the keeper's now
    {"op": "signal", "n": 2, "key": K, "signal": 9}   also while it is still being set up
    {"op": "list", "n": 3}
    {"op": "forget", "known": [[K, P], ...]}

Every message may have `known`: how these ended has been heard, drop them and their pipes. P is the
pid: another process may have the key by now, which is dropped with its key's next process, too.

The keeper answers `{"n": 1, "ok": {...}}` or `{"n": 1, "error": {"kind", "step", "errno",
"detail"}}`. A spawn is answered when the command has been executed, with the pidfd beside it, or
when the process that failed has been reaped. Adopting brings the pidfd too, and works for the
latest orphans that have ended already; descriptors sent with it are kept as pipes. Unasked the
keeper tells of ends:

    {"event": "exit", "key": K, "pid": P, "status": W, "cpu_usec": U, "max_rss_bytes": B}

`status` is that of wait(2). The first packet is the keeper's: `{"event": "hello", "version": 1}`.
When the daemon's end closes, the keeper kills what it keeps, and ends.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

VERSION = 1
PACKET_BYTES = 96 * 1024  # well below the default socket buffer of 208 KiB
MAX_FDS = 250  # the kernel's SCM_MAX_FD is 253
# The arguments of recvmsg for any packet.
RECEIVE = (PACKET_BYTES + 4096, socket.CMSG_SPACE(4 * (MAX_FDS + 1)), socket.MSG_CMSG_CLOEXEC)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation failed.

    `kind` is "step", "not-found" or "not-executable" (the command), or "unknown-key".
    """

    kind: str
    step: str
    errno: int
    detail: str


def pack(message: dict[str, Any], fds: list[int]) -> tuple[bytes, list[int], int | None]:
    """The packet and descriptors to send, and a memfd to close after sending, if there is one."""
    data = json.dumps(message).encode()  # ASCII; undecodable bytes travel as surrogate escapes
    if len(data) <= PACKET_BYTES:
        return data, fds, None
    memfd = os.memfd_create("creche-message", os.MFD_CLOEXEC)
    with open(memfd, "wb", closefd=False) as file:
        file.write(data)
    return json.dumps({"in_memfd": True, "n": message.get("n")}).encode(), [memfd, *fds], memfd


def unpack(packet: bytes, fds: list[int]) -> tuple[dict[str, Any], list[int]]:
    """The message of a packet, and the descriptors that belong to it."""
    message: dict[str, Any] = json.loads(packet)
    if not message.get("in_memfd") or not fds:
        return message, fds
    memfd, *rest = fds
    try:
        message = json.loads(os.pread(memfd, os.fstat(memfd).st_size, 0))
    finally:
        os.close(memfd)
    return message, rest


def rights(fds: list[int]) -> list[tuple[int, int, bytes]]:
    """The ancillary data that carries descriptors. Source: unix(7), SCM_RIGHTS."""
    if not fds:
        return []
    data = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)]


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that ancillary data brought."""
    return [
        int.from_bytes(data[at : at + 4], sys.byteorder)
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for at in range(0, len(data) - len(data) % 4, 4)
    ]


def send(sock: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    """Send one message; blocks while the peer's buffer is full."""
    packet, sent_fds, memfd = pack(message, fds or [])
    try:
        sock.sendmsg([packet], rights(sent_fds))
    finally:
        if memfd is not None:
            os.close(memfd)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message, or None if the peer is gone. Descriptors are close-on-exec.

    One that lacks some of its descriptors, because there were not enough, says that it `is_cut`.
    """
    # not socket.recv_fds, which drops the flags it is given
    packet, ancillary, flags, _ = sock.recvmsg(*RECEIVE)
    if not packet:
        return None
    message, fds = unpack(packet, descriptors(ancillary))
    return ({**message, "is_cut": True} if flags & socket.MSG_CTRUNC else message), fds
