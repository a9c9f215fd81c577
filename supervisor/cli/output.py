"""What people see: tables, colours and progress on a terminal; plain text or JSON elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_COLOURS = {
    "RUNNING": "green",
    "running": "green",
    "yes": "green",
    "STARTING": "yellow",
    "BACKOFF": "yellow",
    "restarting": "yellow",
    "STOPPING": "yellow",
    "FATAL": "red",
    "no": "red",
    "dead": "red",
}


def is_person() -> bool:
    """Whether somebody looks at the output."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; with colours where a person looks."""
    if is_person():
        _print_rich(titles, rows)
        return
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("   ".join(cells).rstrip())


def _print_rich(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell, _COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


@contextlib.contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Show on a terminal that something takes a while."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def size_words(count: float) -> str:
    """Bytes as Docker shows them: powers of 1000, three digits or four."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g}{unit}"
        count /= 1000
    return f"{count:.4g}TB"
