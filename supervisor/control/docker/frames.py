"""Docker's multiplexed stream: both outputs over one connection.

Source: the API reference, ContainerAttach, "Stream format".
"""

from __future__ import annotations

import struct

from drivers.log.base import Source

MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
RAW = "application/vnd.docker.raw-stream"

_NUMBERS: dict[Source, int] = {"stdout": 1, "stderr": 2}
_HEADER = struct.Struct(">BxxxL")


def frame(source: Source, data: bytes) -> bytes:
    """A chunk with its header: the stream's number, and the length in big endian."""
    return _HEADER.pack(_NUMBERS[source], len(data)) + data


def raw(source: Source, data: bytes) -> bytes:
    """The stream as a terminal has it: there is only one."""
    return data


def content_type(api_version: tuple[int, int], *, tty: bool) -> str:
    """What the stream is called: clients older than 1.42 know one name only."""
    return MULTIPLEXED if api_version >= (1, 42) and not tty else RAW
