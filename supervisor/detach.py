"""The keys that end a client's hold on a terminal, which goes on without it."""

from __future__ import annotations

DEFAULT_KEYS = b"\x10\x11"  # ctrl-p,ctrl-q

_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # with ctrl: 0, 1, 2 ...


def parse_keys(text: str) -> bytes:
    """The bytes of "ctrl-p,ctrl-q", "a,b" or "DEL"; the default's for nothing.

    Raises ValueError for the name of no key.
    """
    if not text:
        return DEFAULT_KEYS
    keys = b""
    for name in text.split(","):
        prefix, dash, letter = name.partition("-")
        if len(name) == 1 and name.isascii():
            keys += name.encode()
        elif dash and prefix == "ctrl" and len(letter) == 1 and letter in _CONTROLS:
            keys += bytes([_CONTROLS.index(letter)])
        elif name == "DEL":
            keys += b"\x7f"
        else:
            raise ValueError(f"there is no key {name!r}")
    return keys


class KeyFilter:
    """Looks for the keys in what is typed. The beginning of them is held back until it is clear."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""
        self.detached = False  # all of them have come: nothing is passed on any more

    def feed(self, data: bytes) -> bytes:
        """What of `data` is to be passed on, with what was held back before."""
        if not self._held and self._keys[0] not in data:
            return data
        passed = bytearray()
        for byte in data:
            held = self._held + bytes([byte])
            if held == self._keys:
                self.detached = True
                break
            while not self._keys.startswith(held):
                passed.append(held[0])
                held = held[1:]
            self._held = held
        return bytes(passed)
