"""How results are shown: tables with colours for people, aligned text or JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

# By the first word of a cell in a column named below; whatever else is shown as it is.
_STYLES = {
    "RUNNING": "green",
    "Up": "green",
    "yes": "green",
    "STARTING": "cyan",
    "STOPPING": "yellow",
    "BACKOFF": "yellow",
    "Restarting": "yellow",
    "FATAL": "bold red",
    "UNKNOWN": "bold red",
    "Dead": "bold red",
    "no": "bold red",
    "EXITED": "red",
    "STOPPED": "dim",
    "Exited": "dim",
    "Created": "dim",
}
_COLOURED = frozenset({"STATE", "STATUS", "WORKS"})
_LONG = frozenset({"IMAGE", "COMMAND", "DESCRIPTION", "PROBLEM"})  # may go on in the next line
_GAP = 3


def for_person() -> bool:
    """Whether somebody is looking at the output."""
    return sys.stdout.isatty()


def show_json(value: object) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, plain_header: bool = True
) -> None:
    """A table; where nobody looks aligned text, `plain_header` telling whether it has a head."""
    if for_person():
        _show_rich(columns, rows)
        return
    lines = [columns, *rows] if plain_header else list(rows)
    widths = [max((len(line[at]) for line in lines), default=0) for at in range(len(columns))]
    for line in lines:
        padded = [cell.ljust(width + _GAP) for cell, width in zip(line, widths, strict=True)]
        print("".join(padded).rstrip())


def _show_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in _LONG)
    for row in rows:
        cells = zip(columns, row, strict=True)
        table.add_row(*(Text(cell, _style(column, cell)) for column, cell in cells))
    Console().print(table)


def _style(column: str, cell: str) -> str:
    if column not in _COLOURED:
        return ""
    return _STYLES.get(cell.split(" ", 1)[0], "")


def complain(message: str) -> None:
    """An error on one line of standard error."""
    print("crechectl: error: " + " ".join(message.split()), file=sys.stderr)


def refuse(name: str, reason: str) -> None:
    """What could not be done for one name, as supervisorctl words it; on standard error."""
    print(f"{name}: ERROR ({reason})", file=sys.stderr)


def age(since_s: float) -> str:
    """How long ago a moment was, in its largest unit."""
    seconds = max(int(time.time() - since_s), 0)
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{seconds} s ago"


def size_text(count: float) -> str:
    """Bytes in powers of 1000 and three digits, as Docker shows images."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}TB"
