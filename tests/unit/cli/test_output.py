"""What people see: tables, words, streams."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor.cli import output, progress, streams
from supervisor.cli.client import Client
from supervisor.cli.daemon import event_text
from supervisor.cli.faults import describe
from tests.unit.cli.conftest import FakeDaemon

Captured = pytest.CaptureFixture[str]
REPOSITORY = Path(__file__).parents[3]


def test_columns_are_as_wide_as_their_widest_cell(capsys: Captured) -> None:
    output.show_table(["A", "NAME"], [["long cell", "x"], ["s", ""]])
    assert capsys.readouterr().out == "A           NAME\nlong cell   x\ns\n"


def test_a_terminal_has_colours(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(output, "for_person", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.show_table(["NAME", "STATE"], [["RUNNING", "RUNNING"]])
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("RUNNING ")  # a name is not coloured for what it says
    assert "\x1b[32mRUNNING" in line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "3 s ago"), (60, "1 minute ago"), (7200, "2 hours ago"), (86400 * 3, "3 days ago")],
)
def test_ages_have_one_unit(monkeypatch: pytest.MonkeyPatch, seconds: float, words: str) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    assert output.age(1_000_000.0 - seconds) == words


def test_sizes_have_three_digits() -> None:
    assert [output.size_text(n) for n in (5, 1_980_000, 7.5e12)] == ["5B", "1.98MB", "7.5TB"]


def test_an_error_is_one_line(capsys: Captured) -> None:
    output.complain("two\nlines")
    assert capsys.readouterr().err == "crechectl: error: two lines\n"


def test_moments_are_times_or_durations() -> None:
    assert streams.moment("1h2m3.5s", now_s=10_000.0) == "6276.500000000"
    assert streams.moment("2026-11-24T10:00:00") == "2026-11-24T10:00:00"
    assert streams.moment("1795493697") == "1795493697"
    assert streams.moment(None) is None


def test_frames_go_to_the_stream_they_are_of(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    frames = b"\1\0\0\0\0\0\0\2o\n" + b"\2\0\0\0\0\0\0\3e\0\n" + b"\1\0\0"
    streams.write_frames(io.BytesIO(frames).read)
    shown = capfdbinary.readouterr()
    assert (shown.out, shown.err) == (b"o\n", b"e\0\n")


def test_a_signal_is_passed_on_and_three_interrupts_end_us(daemon: FakeDaemon) -> None:
    daemon.api["POST /containers/x/kill"] = (204, b"")
    before = signal.getsignal(signal.SIGTERM)
    with streams.signals_passed_on(Client(str(daemon.socket)), "x"):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert [asked.query for asked in daemon.asked] == [{"signal": ["SIGTERM"]}] * 2
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_file_is_sent_in_chunks_without_a_bar_where_nobody_looks(capsys: Captured) -> None:
    data = os.urandom(600_000)
    assert b"".join(progress.chunks(io.BytesIO(data), "send", len(data))) == data
    assert capsys.readouterr().err == ""


def test_an_event_is_a_line() -> None:
    event = {
        "Type": "container",
        "Action": "die",
        "Actor": {"ID": "a" * 64, "Attributes": {"name": "web", "image": "b", "exitCode": "3"}},
        "timeNano": 1_795_493_697_389_722_545,
    }
    line = event_text(event).split(" ", 1)[1]
    assert line == f"container die {'a' * 12} web (exitCode=3, image=b)"


def test_a_fault_says_more_than_its_code_only_if_it_does() -> None:
    assert describe(10, "BAD_NAME: web") == "no such process"
    assert describe(50, "SPAWN_ERROR: web: mount proc: EPERM") == (
        "spawn error: web: mount proc: EPERM"
    )
    assert describe(30, "FAILED: it hangs") == "it hangs"
    assert describe(99, "") == "fault 99"


def test_a_reader_that_has_gone_ends_the_command_quietly() -> None:
    code = (
        "import sys\nfrom supervisor.cli import main, daemon\n"
        "def act(client, args):\n    print('x' * 1_000_000)\n    return 0\n"
        "daemon.info = act\nsys.argv[1:] = ['info']\nmain.main()\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, cwd=REPOSITORY
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_client_imports_none_of_the_heavy_libraries() -> None:
    heavy = "{'trio', 'httptools', 'psutil', 'rich', 'msgspec', 'drivers', 'xmlrpc'}"
    code = f"import sys, supervisor.cli.main\nprint(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout == "[]\n"
