r"""Docker's json-file format: one JSON object a line, byte for byte as dockerd writes it.

    {"log":"hello\n","stream":"stdout","time":"2026-11-24T02:51:48.123456789Z"}

`attrs` stands before `time` where labels or variables were asked for. A byte that is no UTF-8,
which dockerd turns into U+FFFD, is kept as the lone surrogate \udcXX: other readers see U+FFFD
there, and ours reads the byte back.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from drivers.log.base import Entry

_ESCAPES: dict[int, bytes] = {
    **{code: b"\\u%04x" % code for code in (*range(0x20), ord("<"), ord(">"), ord("&"))},
    ord("\n"): b"\\n",
    ord("\r"): b"\\r",
    ord('"'): b'\\"',
    ord("\\"): b"\\\\",
}
_PLAIN = bytes(code for code in range(0x80) if code not in _ESCAPES)
_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
_TIME = re.compile(rb'"time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z"\}$')


def frame(data: bytes, source: str, time_ns: int, attrs: bytes = b"") -> bytes:
    """The lines of the file for whole lines (or a part of one) that were read at one time.

    `attrs` is the JSON object for the key of that name, or empty. No loop over lines: a few
    passes over the bytes in C.
    """
    extra = b'"attrs":%b,' % attrs if attrs else b""
    tail = b'","stream":"%b",%b"time":"%b"}\n' % (source.encode(), extra, _rfc3339(time_ns))
    escaped = _escape(data)
    ends_whole = data.endswith(b"\n")
    framed = escaped.replace(b"\n", b'\\n%b{"log":"' % tail)
    if ends_whole:  # the last newline began a line that is not there; nothing is copied twice
        return b"".join((b'{"log":"', memoryview(framed)[: -len(b'{"log":"')]))
    return b"".join((b'{"log":"', framed, tail))


def _escape(data: bytes) -> bytes:
    """The bytes as the inside of JSON strings, newlines left as they are."""
    special = set(data.translate(None, _PLAIN))
    special.discard(ord("\n"))
    if not special:
        return data
    if ord("\\") in special:  # first, or it would escape the escapes
        special.discard(ord("\\"))
        data = data.replace(b"\\", b"\\\\")
    for code in special:
        if code < 0x80:
            data = data.replace(bytes((code,)), _ESCAPES[code])
    if max(special, default=0) < 0x80:
        return data
    for character, escape in _SEPARATORS:
        data = data.replace(character, escape)
    text = data.decode("utf-8", "surrogateescape")
    return text.encode("utf-8", "backslashreplace")


def _rfc3339(time_ns: int) -> bytes:
    """The time as Go's RFC3339Nano prints it: no trailing zeros, no point without digits."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z".encode() if digits else f"{text}Z".encode()


def parse(line: bytes) -> Entry | None:
    """The entry of one line of the file, or None if it is damaged."""
    try:
        fields: dict[str, Any] = json.loads(line)
        return Entry(
            data=fields["log"].encode("utf-8", "surrogateescape"),
            source=fields["stream"],
            time_ns=time_of(line),
            attrs=fields.get("attrs") or {},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def time_of(line: bytes) -> int:
    """The time of one line, in nanoseconds. Raises ValueError if it has none."""
    found = _TIME.search(line.rstrip(b"\n"))
    if found is None:
        raise ValueError("no time in a line of the log")
    seconds = calendar.timegm(time.strptime(found[1].decode(), "%Y-%m-%dT%H:%M:%S"))
    return seconds * 1_000_000_000 + int((found[2] or b"0").ljust(9, b"0"))


def encode_attrs(attrs: Mapping[str, str]) -> bytes:
    """The JSON object for `attrs`, keys sorted as Go sorts them; empty for none."""
    if not attrs:
        return b""
    return json.dumps(
        dict(sorted(attrs.items())), separators=(",", ":"), ensure_ascii=False
    ).encode("utf-8", "surrogateescape")
