"""The daemon's own log: an event's dotted name, then its fields as key=value."""

from __future__ import annotations

import json
import logging
import sys
from typing import Literal

_logger = logging.getLogger("creche")

Level = Literal["debug", "info", "warning", "error"]


def set_up(level: Level) -> None:
    """Log to standard error from `level` up, which under systemd is the journal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _logger.setLevel(level.upper())


def debug(event: str, **fields: object) -> None:
    """Log something of interest to whoever looks for a fault."""
    _write(logging.DEBUG, event, fields)


def info(event: str, **fields: object) -> None:
    """Log something that happened as it should."""
    _write(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """Log something that an administrator may want to change."""
    _write(logging.WARNING, event, fields)


def error(event: str, **fields: object) -> None:
    """Log something that went wrong and was not anybody's to be told."""
    _write(logging.ERROR, event, fields)


def _write(level: int, event: str, fields: dict[str, object]) -> None:
    if _logger.isEnabledFor(level):
        _logger.log(
            level, "%s", " ".join([event, *(f"{k}={_shown(v)}" for k, v in fields.items())])
        )


def _shown(value: object) -> str:
    """The value as one word; what has blanks or control characters is quoted."""
    text = str(value)
    plain = text.isprintable() and not any(c in text for c in ' "=')
    return text if plain and text else json.dumps(text)
