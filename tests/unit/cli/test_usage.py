"""crechectl's pause, unpause, stats and top; over a fake daemon."""

from __future__ import annotations

import json

import pytest

from supervisor.cli import usage
from tests.unit.cli.conftest import FakeDaemon

Captured = pytest.CaptureFixture[str]


def _stats(name: str, cpu_ns: int, system_ns: int) -> dict[str, object]:
    return {
        "name": f"/{name}",
        "cpu_stats": {
            "cpu_usage": {"total_usage": cpu_ns},
            "system_cpu_usage": system_ns,
            "online_cpus": 2,
        },
        "memory_stats": {
            "usage": 3_000_000,
            "limit": 10_000_000,
            "stats": {"total_inactive_file": 1_000_000},
        },
        "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2000}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "Read", "value": 5},
                {"op": "write", "value": 7000},
            ]
        },
        "pids_stats": {"current": 3},
    }


def test_a_line_of_stats_tells_shares_between_two_readings() -> None:
    line = usage.row(_stats("web", 100, 1000), _stats("web", 350, 2000))
    assert line == ["web", "50.00%", "2MB / 10MB", "20.00%", "1kB / 2kB", "5B / 7kB", "3"]
    assert usage.row({}, _stats("web", 350, 2000))[1] == "0.00%"


def test_a_container_that_is_down_uses_nothing() -> None:
    down = {
        "name": "/web",
        "cpu_stats": {"cpu_usage": {"total_usage": 0}},
        "memory_stats": {},
        "blkio_stats": {"io_service_bytes_recursive": None},
        "pids_stats": {},
    }
    assert usage.row(down, down) == [
        "web",
        "0.00%",
        "0B / 0B",
        "0.00%",
        "0B / 0B",
        "0B / 0B",
        "0",
    ]


def test_stats_are_shown_for_all_that_run(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.api["GET /containers/json"] = (200, [{"Id": "a1"}, {"Id": "b2"}])
    daemon.api["GET /containers/a1/stats"] = (200, _stats("web", 1, 1))
    daemon.api["GET /containers/b2/stats"] = (404, {"message": "just removed"})
    assert daemon.ctl("stats", "--no-stream") == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.startswith("NAME")
    assert line.startswith("web")
    query = next(asked.query for asked in daemon.asked if asked.path.endswith("a1/stats"))
    assert (query["stream"], query["one-shot"]) == (["0"], ["1"])


def test_stats_of_names_tell_what_is_not_there(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.api["GET /containers/web/stats"] = (200, _stats("web", 1, 1))
    assert daemon.ctl("stats", "--no-stream", "--json", "web", "nope") == 1
    shown = capsys.readouterr()
    assert [stats["name"] for stats in json.loads(shown.out)] == ["/web"]
    assert shown.err == "crechectl: error: nothing\n"
    assert daemon.ctl("stats", "nope") == 1


def test_top_passes_on_the_arguments_of_ps(daemon: FakeDaemon, capsys: Captured) -> None:
    found = {"Titles": ["PID", "CMD"], "Processes": [["7", "sh"]]}
    daemon.api["GET /containers/web/top"] = (200, found)
    assert daemon.ctl("top", "web") == 0
    assert capsys.readouterr().out == "PID   CMD\n7     sh\n"
    assert daemon.ctl("top", "--json", "web", "--", "-o", "pid,cmd") == 0
    assert json.loads(capsys.readouterr().out) == [{"PID": "7", "CMD": "sh"}]
    assert [asked.query for asked in daemon.asked] == [{}, {"ps_args": ["-o pid,cmd"]}]


@pytest.mark.parametrize("verb", ["pause", "unpause"])
def test_pausing_goes_through_all_names(daemon: FakeDaemon, capsys: Captured, verb: str) -> None:
    daemon.api[f"POST /containers/web/{verb}"] = (204, b"")
    assert daemon.ctl(verb, "nope", "web") == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("web\n", "crechectl: error: nothing\n")
