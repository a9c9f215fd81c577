"""Values of options that several verbs take."""

from __future__ import annotations

import re

from supervisor.cli.errors import CliError, Exit

_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([bkmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class UsageError(CliError):
    """An option's value makes no sense."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=Exit.DAEMON)


def size(option: str, text: str) -> int:
    """Bytes of "512m", "1.5GiB" or "-1"; 0 for an empty text. Units are powers of 1024."""
    if text in ("", "-1"):
        return int(text or 0)
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{option} {text}: not a size (as 512m or 2g)")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def nano_cpus(text: str) -> int:
    """Billionths of a processor of "1.5"; 0 for an empty text."""
    try:
        count = round(float(text or 0) * 1e9)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--cpus {text}: not a number (as 1.5)") from error
    if count < 0:
        raise UsageError(f"--cpus {text}: not a number (as 1.5)")
    return count
