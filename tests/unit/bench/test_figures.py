"""How figures are judged and shown."""

from __future__ import annotations

import pytest

from tests.bench.figures import IN_DIRECTORY, RULES, Figure, median_figure, table, verdicts


def _figure(subject: str, what: str, value: float) -> Figure:
    return Figure(subject=subject, what=what, value=value, unit="ms")


def test_the_median_of_seconds_is_in_milliseconds() -> None:
    figure = median_figure("a", "start", [0.001, 0.002, 0.003, 0.004, 9.0])
    assert (figure.value, figure.unit) == (pytest.approx(3.0), "ms")


@pytest.mark.parametrize(("native_ms", "met"), [(5.0, True), (5.1, False)])
def test_a_budget_is_met_up_to_its_limit(native_ms: float, met: bool) -> None:
    figures = [
        _figure("floor", "start, network namespace", 2.0),
        _figure("native", "start", native_ms),
    ]
    judged = verdicts(figures)[0]
    assert (judged.measured, judged.met) == (pytest.approx(native_ms / 2), met)


def test_what_was_not_measured_is_not_judged() -> None:
    assert [verdict.met for verdict in verdicts([])] == [None] * len(RULES)


def test_the_table_names_every_budget_and_its_verdict() -> None:
    starts = [("native", "start", 3.0), ("native", IN_DIRECTORY, 1.0), ("bwrap", "start", 2.0)]
    figures = [_figure(*start) for start in starts]
    shown = table(figures, verdicts(figures))
    assert shown.count("NOT MET") == 1
    assert shown.count("not measured") == len(RULES) - 2
