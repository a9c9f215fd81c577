"""Who may talk to the daemon: root, its own user, and the members of the socket's group."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct

from drivers.errors import Forbidden
from supervisor.control.http import Peer


def peer_of(sock: socket.socket) -> Peer:
    """The process at the other end when it connected. Source: unix(7), SO_PEERCRED."""
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return Peer(pid, uid, gid)


def check(peer: Peer, group_id: int | None) -> None:
    """Raise Forbidden for a peer that may not. `group_id` is the socket's group, if it has one."""
    if peer.uid in (0, os.geteuid()):
        return
    if group_id is not None and (peer.gid == group_id or _is_member(peer.uid, group_id)):
        return
    raise Forbidden(
        f"permission denied: user {peer.uid} is neither root nor in the group of the socket"
    )


def _is_member(uid: int, group_id: int) -> bool:
    try:
        return pwd.getpwuid(uid).pw_name in grp.getgrgid(group_id).gr_mem
    except KeyError:
        return False
