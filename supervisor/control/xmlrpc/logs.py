"""Reading a process's log by bytes, as supervisor does from its files."""

from __future__ import annotations

import re
from typing import Any

from drivers.errors import CrecheError
from drivers.log.base import ReadQuery, Source
from supervisor.control.context import Control
from supervisor.control.faults import Fault
from supervisor.control.xmlrpc.faulted import Faulted
from supervisor.control.xmlrpc.names import find_one, namespec

MAX_BYTES = 8 * 1024 * 1024  # of one answer
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


async def read(control: Control, name: str, source: Source, offset: int, length: int) -> str:
    """`length` bytes from `offset`; with a negative offset and no length the last bytes."""
    if length < 0 or (offset < 0 and length):
        raise Faulted(Fault.BAD_ARGUMENTS, name)
    if offset < 0:
        data = await last_bytes(control, name, source, -offset)
    else:
        whole = await _bytes(control, name, source, tail=None)
        data = whole[offset : offset + length] if length else whole[offset:]
    return text_for_xml(data[-MAX_BYTES:])


async def tail(control: Control, name: str, source: Source, offset: int, length: int) -> list[Any]:
    """What follows `offset`, `length` bytes at most: text, the log's size, whether it was cut."""
    whole = await _bytes(control, name, source, tail=None)
    new = whole[max(offset, 0) :] if offset <= len(whole) else b""
    overflow = len(new) > length
    return [text_for_xml(new[-length:] if length else b""), len(whole), overflow]


async def last_bytes(control: Control, name: str, source: Source, count: int) -> bytes:
    """The last bytes of one stream."""
    # every line has a byte at least
    return (await _bytes(control, name, source, tail=min(count, MAX_BYTES)))[-count:]


async def _bytes(control: Control, name: str, source: Source, *, tail: int | None) -> bytes:
    container = find_one(control.manager, name)
    query = ReadQuery(tail=tail, sources=frozenset({source}))
    parts: list[bytes] = []
    try:
        async with control.manager.read_logs(container.id, query) as runs:
            async for entries in runs:
                parts += [entry.data for entry in entries]
    except CrecheError as error:
        raise Faulted(Fault.NO_FILE, f"{namespec(container)}: {error}") from error
    return b"".join(parts)


def text_for_xml(data: bytes) -> str:
    r"""Bytes as a string that XML can carry: what it cannot becomes \xNN."""
    text = data.decode("utf-8", "backslashreplace")
    return _NOT_IN_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
