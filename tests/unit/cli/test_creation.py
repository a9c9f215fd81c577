"""Options of `run` become the body of a container's creation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import creation, values
from supervisor.cli.creation import body_of
from supervisor.cli.parsers.root import build
from supervisor.cli.values import UsageError


def _body(*options: str, attached: bool = True) -> dict[str, Any]:
    return body_of(build().parse_args(["run", *options]), attached=attached)


def test_a_bare_image_asks_for_nothing_more() -> None:
    body = _body("busybox")
    host = body.pop("HostConfig")
    asked = {name: value for name, value in body.items() if value}
    assert asked == {"Image": "busybox", "AttachStdout": True, "AttachStderr": True}
    assert host["NetworkMode"] == "default"
    assert {name for name, value in host.items() if value} == {
        "NetworkMode",
        "RestartPolicy",
        "LogConfig",
    }


def test_limits_are_bytes_and_billionths() -> None:
    host = _body("-m", "1.5g", "--cpus", "0.5", "--pids-limit", "9", "img")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (3 << 29, 500_000_000, 9)
    options = ("--cpuset-cpus", "0-1", "-c", "512", "--memory-reservation", "1g")
    rates = ("--device-read-bps", "/dev/a:b:1m", "--device-read-bps", "/dev/c:5")
    host = _body(*options, *rates, "--blkio-weight-device", "/dev/a:100", "img")["HostConfig"]
    assert (host["CpusetCpus"], host["CpuShares"]) == ("0-1", 512)
    assert host["MemoryReservation"] == 1 << 30
    assert host["BlkioWeightDevice"] == [{"Path": "/dev/a", "Weight": 100}]
    assert host["BlkioDeviceReadBps"] == [
        {"Path": "/dev/a:b", "Rate": 1 << 20},
        {"Path": "/dev/c", "Rate": 5},
    ]


@pytest.mark.parametrize("text", ["/dev/a", ":5", "/dev/a:", "/dev/a:x"])
def test_what_is_no_device_and_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--device-write-iops"):
        _body("--device-write-iops", text, "img")


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("-1", -1), ("7", 7), ("8b", 8), ("2k", 2048), ("64MiB", 64 << 20), ("1Gb", 1 << 30)],
)
def test_sizes_are_read_as_docker_reads_them(text: str, count: int) -> None:
    assert values.size("--memory", text) == count


@pytest.mark.parametrize("text", ["x", "5q", "-5", "1e3", "m", "1.2.3", "nan", "٣"])
def test_what_is_no_size_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"--memory .*: not a size"):
        values.size("--memory", text)


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf"])
def test_what_is_no_number_of_processors_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--cpus"):
        values.nano_cpus(text)


def test_variables_come_from_files_options_and_ourselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\n\nA=1\n  B=two words \nOURS\n")
    monkeypatch.setenv("OURS", "mine")
    monkeypatch.delenv("NOT_SET", raising=False)
    found = creation.environment([str(file)], ["A=2", "NOT_SET", "E="])
    assert found == ["A=1", "B=two words ", "OURS=mine", "A=2", "E="]


def test_a_missing_env_file_is_named() -> None:
    with pytest.raises(UsageError, match="--env-file /nowhere/env"):
        creation.environment(["/nowhere/env"], [])


def test_a_restart_policy_has_a_count() -> None:
    assert creation.restart_policy("on-failure:3") == {
        "Name": "on-failure",
        "MaximumRetryCount": 3,
    }
    with pytest.raises(UsageError, match="--restart on-failure:x"):
        creation.restart_policy("on-failure:x")


def test_mounts_are_read_word_by_word() -> None:
    assert creation.mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave") == {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }
    assert creation.mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777") == {
        "Type": "tmpfs",
        "Target": "/t",
        "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1777},
    }
    with pytest.raises(UsageError, match="unknown field 'form'"):
        creation.mount("form=bind")


def test_a_relative_source_is_made_absolute() -> None:
    assert creation.bind("./data:/data:ro") == f"{Path('data').resolve()}:/data:ro"


def test_a_volume_without_source_is_refused() -> None:
    with pytest.raises(UsageError, match="anonymous volumes"):
        creation.bind("/data")


def test_standard_input_is_attached_only_if_asked_for_and_not_detached() -> None:
    assert _body("-i", "img")["AttachStdin"] is True
    detached = _body("-i", "img", attached=False)
    assert (detached["OpenStdin"], detached["AttachStdin"]) == (True, False)
    assert detached["StdinOnce"] is False
