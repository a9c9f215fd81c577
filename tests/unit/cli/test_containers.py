"""Docker's verbs: lists, inspect, images, run; over a fake daemon."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from supervisor.cli.running import exit_code_of_start
from tests.unit.cli.conftest import FakeDaemon

Captured = pytest.CaptureFixture[str]

CONTAINER = {
    "Id": "a" * 64,
    "Image": "busybox",
    "Command": "sh -c 'while true; do sleep 1; done'",
    "Created": 0,
    "Status": "Up 2 minutes",
    "Names": ["/web"],
}


def test_ps_shows_a_line_for_each_container(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.api["GET /containers/json"] = (200, [{**CONTAINER, "Created": time.time() - 7300}])
    assert daemon.ctl("ps", "-a", "--filter", "name=web", "--filter", "name=db") == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split("   ")[0] == "CONTAINER ID"
    assert line == (
        'aaaaaaaaaaaa   busybox   "sh -c \'while true; …"   2 hours ago   Up 2 minutes   web'
    )
    query = daemon.asked[0].query
    assert (query["all"], json.loads(query["filters"][0])) == (["1"], {"name": ["web", "db"]})


def test_ps_quiet_shows_ids_and_json_everything(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.api["GET /containers/json"] = (200, [CONTAINER])
    daemon.ctl("ps", "-q")
    assert capsys.readouterr().out == "a" * 12 + "\n"
    daemon.ctl("ps", "--json")
    assert json.loads(capsys.readouterr().out) == [CONTAINER]


def test_a_filter_without_value_is_refused(daemon: FakeDaemon, capsys: Captured) -> None:
    assert daemon.ctl("ps", "--filter", "name") == 2
    assert "--filter name: not NAME=VALUE" in capsys.readouterr().err


def test_one_failure_does_not_keep_the_others_from_their_turn(
    daemon: FakeDaemon, capsys: Captured
) -> None:
    daemon.api["DELETE /containers/good"] = (204, b"")
    daemon.api["DELETE /containers/bad"] = (409, {"message": "nothing"})
    assert daemon.ctl("rm", "-f", "bad", "good") == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("good\n", "crechectl: error: nothing\n")
    assert daemon.asked[1].query == {"force": ["1"]}


def test_what_is_not_there_is_removed_by_force_and_not_without(
    daemon: FakeDaemon, capsys: Captured
) -> None:
    assert daemon.ctl("rm", "-f", "gone") == 0
    assert daemon.ctl("rm", "gone") == 1
    assert capsys.readouterr() == ("", "crechectl: error: nothing\n" * 2)


def test_inspect_finds_containers_first_and_then_images(
    daemon: FakeDaemon, capsys: Captured
) -> None:
    daemon.api["GET /images/team/web:1/json"] = (200, {"Id": "sha256:1"})
    assert daemon.ctl("inspect", "team/web:1") == 0
    assert json.loads(capsys.readouterr().out) == [{"Id": "sha256:1"}]
    assert daemon.asked[0].path == "/containers/team%2Fweb%3A1/json"


def test_images_have_a_line_for_each_name(daemon: FakeDaemon, capsys: Captured) -> None:
    image = {
        "Id": f"sha256:{'b' * 64}",
        "RepoTags": ["web:1", "localhost:5000/web:2"],
        "Created": 0,
        "Size": 1_980_000,
    }
    daemon.api["GET /images/json"] = (200, [image])
    daemon.ctl("images")
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["web", "1", "b" * 12, "N/A", "1.98MB"],
        ["localhost:5000/web", "2", "b" * 12, "N/A", "1.98MB"],
    ]


def test_load_uploads_the_file_and_shows_what_is_said(
    daemon: FakeDaemon, tmp_path: Path, capsys: Captured
) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"x" * 1_000_000)
    daemon.api["POST /images/load"] = (200, b'{"stream":"Loaded image: web:1\\n"}\r\n')
    assert daemon.ctl("load", "-i", str(archive)) == 0
    assert daemon.asked[0].body == archive.read_bytes()
    assert capsys.readouterr().out == "Loaded image: web:1\n"


def test_a_file_that_cannot_be_read_is_named(daemon: FakeDaemon, capsys: Captured) -> None:
    assert daemon.ctl("load", "-i", "/nowhere/image.tar") == 1
    message = "crechectl: error: /nowhere/image.tar: cannot be read: no such file or directory\n"
    assert capsys.readouterr().err == message


def test_run_of_an_unknown_image_ends_with_125_and_a_way_out(
    daemon: FakeDaemon, capsys: Captured
) -> None:
    daemon.api["POST /containers/create"] = (404, {"message": "No such image: web:latest"})
    assert daemon.ctl("run", "web") == 125
    assert "crechectl load" in capsys.readouterr().err


def test_run_detached_prints_the_id(daemon: FakeDaemon, capsys: Captured) -> None:
    daemon.api["POST /containers/create"] = (201, {"Id": "c" * 64, "Warnings": []})
    daemon.api[f"POST /containers/{'c' * 64}/start"] = (204, b"")
    assert daemon.ctl("run", "-d", "--name", "web", "img", "true") == 0
    assert capsys.readouterr().out == "c" * 64 + "\n"
    assert daemon.asked[0].query == {"name": ["web"]}
    assert json.loads(daemon.asked[0].body)["Cmd"] == ["true"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ('exec: "/x": no such file or directory', 127),
        ('exec: "/etc/passwd": permission denied', 126),
        ("memory cannot be limited here", 125),
    ],
)
def test_why_a_command_did_not_start_is_told_by_the_exit_code(message: str, code: int) -> None:
    assert exit_code_of_start(message) == code
