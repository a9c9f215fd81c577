"""supervisor's verbs: what is shown, what is called, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from xmlrpc.client import Fault

import pytest

from tests.unit.cli.conftest import FakeDaemon

Make = Callable[..., dict[str, Any]]
Captured = pytest.CaptureFixture[str]


def test_status_shows_names_states_and_descriptions(
    daemon: FakeDaemon, process: Make, capsys: Captured
) -> None:
    daemon.calls["getAllProcessInfo"] = [process("db"), process("web_0", "shop")]
    assert daemon.ctl("status") == 0
    assert capsys.readouterr().out == (
        "db           RUNNING   pid 7, uptime 0:00:01\n"
        "shop:web_0   RUNNING   pid 7, uptime 0:00:01\n"
    )


@pytest.mark.parametrize(
    ("names", "code"),
    [((), 3), (("all",), 3), (("db",), 0), (("shop:*",), 3), (("shop:web", "db"), 3), (("x",), 4)],
)
def test_status_ends_with_3_if_one_is_at_rest_and_4_if_one_is_unknown(
    daemon: FakeDaemon, process: Make, names: tuple[str, ...], code: int
) -> None:
    daemon.calls["getAllProcessInfo"] = [process("db"), process("web", "shop", 200)]
    assert daemon.ctl("status", *names) == code


def test_status_json_is_supervisors_structs(
    daemon: FakeDaemon, process: Make, capsys: Captured
) -> None:
    daemon.calls["getAllProcessInfo"] = [process("db")]
    daemon.ctl("status", "--json")
    assert json.loads(capsys.readouterr().out) == [process("db")]


def test_start_and_stop_choose_the_call_by_the_name(daemon: FakeDaemon, process: Make) -> None:
    result = [process("web", "shop", status=80)]
    daemon.calls |= {"startProcess": True, "startProcessGroup": result, "stopAllProcesses": result}
    assert daemon.ctl("start", "db", "shop:*") == 0
    assert daemon.ctl("stop", "all") == 0
    assert daemon.called == [
        ("startProcess", "db"),
        ("startProcessGroup", "shop"),
        ("stopAllProcesses",),
    ]


@pytest.mark.parametrize(
    ("verb", "fault", "code", "words"),
    [
        ("start", 60, 0, "already started"),
        ("start", 50, 7, "spawn error"),
        ("start", 40, 7, "abnormal termination"),
        ("start", 20, 1, "no such file"),
        ("stop", 70, 0, "not running"),
        ("stop", 30, 1, "it does not end"),
    ],
)
def test_faults_have_supervisors_words_and_exit_codes(
    daemon: FakeDaemon, capsys: Captured, verb: str, fault: int, code: int, words: str
) -> None:
    daemon.calls[f"{verb}Process"] = Fault(fault, "FAILED: it does not end")
    assert daemon.ctl(verb, "db") == code
    assert capsys.readouterr().err.startswith(f"db: ERROR ({words}")


def test_signal_to_what_does_not_run_ends_with_7(daemon: FakeDaemon) -> None:
    daemon.calls["signalProcess"] = Fault(70, "NOT_RUNNING")
    assert daemon.ctl("signal", "HUP", "db") == 7
    assert daemon.called == [("signalProcess", "db", "HUP")]


def test_an_unknown_group_ends_with_2(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.calls["startProcessGroup"] = Fault(10, "BAD_NAME: x")
    assert daemon.ctl("start", "x:*") == 2
    assert capsys.readouterr().err == "x:*: ERROR (no such group)\n"


def test_a_name_that_supervisor_does_not_know_is_tried_as_a_container(
    daemon: FakeDaemon, capsys: Captured
) -> None:
    daemon.calls["startProcess"] = Fault(10, "BAD_NAME: 4fd3")
    daemon.api["POST /containers/4fd3/start"] = (204, b"")
    assert daemon.ctl("start", "4fd3") == 0
    assert capsys.readouterr().out == "4fd3: started\n"


def test_a_name_that_nobody_knows_ends_with_1(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.calls["stopProcess"] = Fault(10, "BAD_NAME: x")
    assert daemon.ctl("stop", "x") == 1
    assert capsys.readouterr().err == "x: ERROR (no such process)\n"


def test_a_grace_time_goes_by_dockers_api(daemon: FakeDaemon) -> None:
    daemon.api["POST /containers/web/stop"] = (304, b"")
    assert daemon.ctl("stop", "-t", "3", "shop:web") == 0
    assert daemon.asked[0].query == {"t": ["3"]}


def test_pid_prints_the_daemons_or_those_asked_for(
    daemon: FakeDaemon, process: Make, capsys: Captured
) -> None:
    daemon.calls |= {"getPID": 3, "getProcessInfo": process("db", state=0)}
    assert daemon.ctl("pid") == 0
    assert daemon.ctl("pid", "db") == 7
    assert capsys.readouterr().out == "3\n0\n"


def test_tail_takes_a_number_of_bytes_and_a_stream(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.calls["readProcessStderrLog"] = "end\n"
    assert daemon.ctl("tail", "-100", "db", "stderr") == 0
    assert daemon.called == [("readProcessStderrLog", "db", -100, 0)]
    assert capsys.readouterr().out == "end\n"
    assert daemon.ctl("tail", "db", "elsewhere") == 2


def test_tail_f_follows_the_log(daemon: FakeDaemon, capfdbinary: Any) -> None:
    assert daemon.ctl("tail", "-f", "shop:web") == 0
    assert daemon.asked[0].path == "/logtail/shop:web/stdout"
    assert capfdbinary.readouterr().out == b"tail\n"


def test_update_stops_and_removes_before_it_adds(
    daemon: FakeDaemon, process: Make, capsys: Captured
) -> None:
    daemon.calls |= {
        "reloadConfig": [[["new"], ["old"], ["gone"]]],
        "getAllProcessInfo": [process("old"), process("gone")],
        "stopProcessGroup": lambda group: [process(group, status=80)],
        "removeProcessGroup": True,
        "addProcessGroup": True,
    }
    assert daemon.ctl("update") == 0
    assert capsys.readouterr().out.splitlines() == [
        "gone: stopped",
        "gone: removed",
        "old: stopped",
        "old: removed",
        "old: added",
        "new: added",
    ]


def test_update_does_not_remove_what_cannot_be_stopped(daemon: FakeDaemon, process: Make) -> None:
    daemon.calls |= {
        "reloadConfig": [[[], [], ["gone"]]],
        "getAllProcessInfo": [process("gone")],
        "stopProcessGroup": [process("gone", status=30)],
    }
    assert daemon.ctl("update") == 1
    assert ("removeProcessGroup", "gone") not in daemon.called


def test_reread_tells_why_files_cannot_be_read(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.calls["reloadConfig"] = Fault(92, "CANT_REREAD: a.toml:3: web.comand: unknown key")
    assert daemon.ctl("reread") == 1
    assert capsys.readouterr().err == "crechectl: error: a.toml:3: web.comand: unknown key\n"
