"""Who may talk to the daemon: root, its own user, and the members of the socket's group."""

from __future__ import annotations

import os
import socket
import struct

from drivers.errors import Forbidden
from supervisor.control.http import Peer

_SO_PEERGROUPS = 59  # not in Python's socket module; Linux 4.13
_GROUPS_BYTES = 1024  # what getsockopt() of Python takes at most: 256 groups


def peer_of(sock: socket.socket) -> Peer:
    """The process at the other end when it connected. Source: unix(7), SO_PEERCRED."""
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return Peer(pid, uid, gid, _groups_of(sock))


def _groups_of(sock: socket.socket) -> tuple[int, ...]:
    """The peer's supplementary groups: those it has, whatever /etc/group says by now."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        return ()  # ERANGE: more than fit; such a peer needs the group as its first one
    return struct.unpack(f"{len(raw) // 4}I", raw)


def check(peer: Peer, group_id: int | None) -> None:
    """Raise Forbidden for a peer that may not. `group_id` is the socket's group, if it has one."""
    if peer.uid in (0, os.geteuid()):
        return
    if group_id is not None and group_id in (peer.gid, *peer.groups):
        return
    raise Forbidden(
        f"permission denied: user {peer.uid} is neither root nor in the group of the socket"
    )
