"""The streams of a container in this process's own: Docker's multiplexed stream taken apart."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator

_HEADER = struct.Struct(">BxxxL")
_CHUNK = 65536


def copy_frames(read: Callable[[int], bytes], first: bytes = b"") -> None:
    """Write what comes to standard output and error, until the end of the stream."""
    outputs = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
    for number, data in _frames(read, first):
        out = outputs.get(number, sys.stdout.buffer)
        out.write(data)
        out.flush()


def _frames(read: Callable[[int], bytes], received: bytes) -> Iterator[tuple[int, bytes]]:
    while True:
        while len(received) >= _HEADER.size:
            number, length = _HEADER.unpack_from(received)
            end = _HEADER.size + length
            if len(received) < end:
                break
            yield number, received[_HEADER.size : end]
            received = received[end:]
        data = read(_CHUNK)
        if not data:
            return
        received += data


def feed_stdin(sock: socket.socket) -> None:
    """Send this process's standard input from a thread of its own, then close that direction."""

    def run() -> None:
        with contextlib.suppress(OSError):
            while data := sys.stdin.buffer.read1(_CHUNK):
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

    threading.Thread(target=run, daemon=True).start()
