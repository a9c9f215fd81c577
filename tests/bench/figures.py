"""What was measured, and what DESIGN.md's budgets make of it: plain values."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

PARALLEL = 50
_PARALLEL = f"{PARALLEL} starts at once"
IN_DIRECTORY = "start, no overlay"
IDLE_CONTAINERS = 200  # measured, for a budget that is told for a thousand


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One result: of whom, what, how much. `spread` is half the middle half of all runs."""

    subject: str
    what: str
    value: float
    unit: str
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A budget, what was measured for it (None: something was not), and whether it is met."""

    budget: str
    measured: float | None
    unit: str
    met: bool | None


def median_figure(subject: str, what: str, seconds: Sequence[float]) -> Figure:
    """The median of runs, in milliseconds."""
    lower, _, upper = statistics.quantiles(seconds, n=4)
    return Figure(
        subject=subject,
        what=what,
        value=statistics.median(seconds) * 1e3,
        unit="ms",
        spread=(upper - lower) / 2 * 1e3,
    )


def merged(figures: Iterable[Figure]) -> list[Figure]:
    """One figure for each thing that was measured, in the first one's place: the median."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.subject, figure.what), []).append(figure)
    return [
        replace(
            group[0],
            value=statistics.median(figure.value for figure in group),
            spread=statistics.median(figure.spread for figure in group),
        )
        for group in groups.values()
    ]


Lookup = Callable[[str, str], float]
_Rule = tuple[str, str, Callable[[Lookup], float], Callable[[float], bool]]

RULES: tuple[_Rule, ...] = (
    (
        "native driver at most 2.5 x the C program",
        "x",
        lambda of: of("native", "start") / of("floor", "start, network namespace"),
        lambda ratio: ratio <= 2.5,
    ),
    (
        "native driver faster than bwrap",
        "x",
        lambda of: of("native", "start") / of("bwrap", "start"),
        lambda ratio: ratio < 1,
    ),
    (
        "native driver faster than bwrap, both in the same directory",
        "x",
        lambda of: of("native", IN_DIRECTORY) / of("bwrap", "start"),
        lambda ratio: ratio < 1,
    ),
    (
        "through the socket at most 2 x the native driver",
        "x",
        lambda of: of("creched", "start") / of("native", "start"),
        lambda ratio: ratio <= 2,
    ),
    (
        "through the socket at least 25 x faster than dockerd",
        "x",
        lambda of: of("dockerd", "start") / of("creched", "start"),
        lambda ratio: ratio >= 25,
    ),
    (
        f"{PARALLEL} starts at once at least 15 x dockerd's rate",
        "x",
        lambda of: of("dockerd", _PARALLEL) / of("creched", _PARALLEL),
        lambda ratio: ratio >= 15,
    ),
    (
        "exec at most 2 x a bare nsenter",
        "x",
        lambda of: of("native", "exec") / of("nsenter", "exec"),
        lambda ratio: ratio <= 2,
    ),
    (
        "json-file at least 5 x dockerd's lines/s",
        "x",
        lambda of: of("creched", "short lines") / of("dockerd", "short lines"),
        lambda ratio: ratio >= 5,
    ),
    (
        "json-file at least 300 MB/s of 1 KiB lines",
        "MB/s",
        lambda of: of("creched", "1 KiB lines"),
        lambda rate: rate >= 300,
    ),
    (
        "at most 150 KB of host memory per idle container",
        "KB",
        lambda of: of("creched", "memory per container"),
        lambda size: size <= 150,
    ),
    (
        "daemon and keeper at most 60 MB",
        "MB",
        lambda of: of("creched", "memory of the daemons"),
        lambda size: size <= 60,
    ),
    (
        f"1,000 idle containers under 1 % of one core (from {IDLE_CONTAINERS})",
        "%",
        lambda of: of("creched", "idle") * 1000 / IDLE_CONTAINERS,
        lambda share: share < 1,
    ),
)


def verdicts(figures: Iterable[Figure]) -> list[Verdict]:
    """Every budget, judged where all its figures are there."""
    values = {(figure.subject, figure.what): figure.value for figure in figures}

    def of(subject: str, what: str) -> float:
        return values[subject, what]

    found = []
    for budget, unit, measure, is_met in RULES:
        try:
            measured = measure(of)
        except KeyError:
            found.append(Verdict(budget=budget, measured=None, unit=unit, met=None))
            continue
        found.append(Verdict(budget=budget, measured=measured, unit=unit, met=is_met(measured)))
    return found


def table(figures: Sequence[Figure], judged: Sequence[Verdict]) -> str:
    """Both as aligned text."""
    lines = [f"{'subject':<10}{'measured':<28}{'value':>12}  {'unit':<8}{'spread':>8}"]
    for figure in figures:
        spread = f"± {figure.spread:.2g}" if figure.spread else ""
        value = f"{figure.value:,.2f}" if figure.value < 1000 else f"{figure.value:,.0f}"
        lines.append(
            f"{figure.subject:<10}{figure.what:<28}{value:>12}  {figure.unit:<8}{spread:>8}"
        )
    words = {True: "met", False: "NOT MET", None: "not measured"}
    lines += ["", f"{'budget':<66}{'measured':>12}  verdict"]
    for verdict in judged:
        measured = "" if verdict.measured is None else f"{verdict.measured:.3g} {verdict.unit}"
        lines.append(f"{verdict.budget:<66}{measured:>12}  {words[verdict.met]}")
    return "\n".join(lines)
