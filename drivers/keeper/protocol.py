"""What the daemon and the keeper say to each other.

A connected pair of SOCK_SEQPACKET sockets; each message is one JSON object in one packet, file
descriptors beside it (SCM_RIGHTS, unix(7)). A message too long for a packet travels in a memfd,
which is then the first descriptor, and the packet holds `{"in_memfd": true}`.

The daemon asks; where there is a number the answer repeats it:

    {"op": "spawn", "n": 1, "key": K, "plan": PLAN, "words": {...}}   fds as PLAN counts them
    {"op": "signal", "n": 2, "key": K, "signal": 9}   also while it is still being set up
    {"op": "list", "n": 3}
    {"op": "forget", "key": K}                        its end is known: drop it and its pipes

The keeper answers `{"n": 1, "ok": {...}}` or `{"n": 1, "error": {"kind", "step", "errno",
"detail"}}`. A spawn is answered when the command has been executed, with the pidfd beside it, or
when the process that failed has been reaped. Unasked the keeper tells of ends:

    {"event": "exit", "key": K, "pid": P, "status": W, "cpu_usec": U, "max_rss_bytes": B}

`status` is that of wait(2). The first packet is the keeper's: `{"event": "hello", "version": 1}`.
When the daemon's end closes, the keeper kills what it keeps, and ends.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1
PACKET_BYTES = 96 * 1024  # well below the default socket buffer of 208 KiB
MAX_FDS = 250  # the kernel's SCM_MAX_FD is 253
# The arguments of recvmsg for any packet.
RECEIVE = (PACKET_BYTES + 4096, socket.CMSG_SPACE(4 * (MAX_FDS + 1)), socket.MSG_CMSG_CLOEXEC)


@dataclass(frozen=True, slots=True)
class PlannedDevice:
    """A device file to make; `mode` has its kind too."""

    path: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a command is called with, and what its host is called."""

    argv: list[str]
    env: list[str]
    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All else that a process does before it executes its command. Paths are the container's.

    Containers of the same kind have the same plan: the keeper keeps what it has made of it.

    The descriptors of the first process of a container come in this order: stdin, stdout, stderr,
    root; one for each of `joined_namespaces`; if `terminal` the file system for /dev/pts; a mount
    for each of `mount_targets`; for cgroup v1 the group's `tasks` in each of
    `cgroup_hierarchies`, for v2 the control group's directory; and read ends that the keeper keeps.
    Those of a process that joins (`joins_all` is not 0): stdin, stdout, stderr, a pidfd of the
    container's first process, and the control group as above.
    """

    search: list[str]  # the directories in which the command is looked for; none: it has a path
    cwd: str
    own_streams: list[bool]  # which of the three become the user's: pipes and terminals
    uid: int
    gid: int
    groups: list[int]
    capabilities: list[int]
    no_new_privs: bool
    filter_text: str = ""  # the seccomp filter's instructions in base64
    rlimits: list[tuple[int, int, int]] = field(default_factory=list)  # number, soft, hard; -1: no
    terminal: bool = False
    cgroup_version: int
    cgroup_hierarchies: list[str]  # v1 only: controllers mounted together ("cpu,cpuacct")
    # of a process that joins
    joins_all: int = 0  # CLONE_NEW* flags of what it has in common with the container
    shares_memory: bool = True  # until it executes; not where the container could look into it
    # of a container's first process
    new_namespaces: int = 0  # CLONE_NEW* flags
    new_cgroup_namespace: bool = False
    joined_namespaces: list[int] = field(default_factory=list)  # CLONE_NEW* flags, one each
    domainname: str = ""
    mount_targets: list[tuple[str, bool]] = field(default_factory=list)  # and whether a directory
    read_only: bool = False
    shm_size_bytes: int = 0
    writable_sys: bool = False
    masked_paths: list[str] = field(default_factory=list)
    readonly_paths: list[str] = field(default_factory=list)
    devices: list[PlannedDevice] = field(default_factory=list)
    sysctls: list[tuple[str, str]] = field(default_factory=list)
    oom_score_adj: int | None = None
    apparmor: str = ""

    @property
    def filter(self) -> bytes:
        """The seccomp filter: an array of struct sock_filter, or nothing."""
        return base64.b64decode(self.filter_text)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation failed.

    `kind` is "step", "not-found" or "not-executable" (the command), or "unknown-key".
    """

    kind: str
    step: str
    errno: int
    detail: str


def plan_to_json(plan: Plan) -> str:
    """The plan as JSON: the same text for the same plan."""
    fields = {name: getattr(plan, name) for name in Plan.__slots__}
    return json.dumps({**fields, "devices": [asdict(device) for device in plan.devices]})


def plan_from_json(text: str) -> Plan:
    """The plan again."""
    fields = json.loads(text)
    devices = [PlannedDevice(**device) for device in fields.pop("devices")]
    return Plan(**fields, devices=devices)


def pack(message: dict[str, Any], fds: list[int]) -> tuple[bytes, list[int], int | None]:
    """The packet and descriptors to send, and a memfd to close after sending, if there is one."""
    data = json.dumps(message).encode()  # ASCII; undecodable bytes travel as surrogate escapes
    if len(data) <= PACKET_BYTES:
        return data, fds, None
    memfd = os.memfd_create("creche-message", os.MFD_CLOEXEC)
    with open(memfd, "wb", closefd=False) as file:
        file.write(data)
    return b'{"in_memfd": true}', [memfd, *fds], memfd


def unpack(packet: bytes, fds: list[int]) -> tuple[dict[str, Any], list[int]]:
    """The message of a packet, and the descriptors that belong to it."""
    message: dict[str, Any] = json.loads(packet)
    if not message.get("in_memfd"):
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
    """The next message, or None if the peer is gone. Descriptors are close-on-exec."""
    # not socket.recv_fds, which drops the flags it is given
    packet, ancillary, _, _ = sock.recvmsg(*RECEIVE)
    if not packet:
        return None
    return unpack(packet, descriptors(ancillary))
