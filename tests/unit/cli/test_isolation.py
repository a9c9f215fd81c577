"""Options of isolation become fields of HostConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import isolation
from supervisor.cli.creation import body_of
from supervisor.cli.errors import CliError
from supervisor.cli.parsers.root import build


def _host_config(*options: str) -> dict[str, Any]:
    body = body_of(build().parse_args(["run", *options, "img"]), attached=True)
    host: dict[str, Any] = body["HostConfig"]
    return host


def test_every_option_has_its_field() -> None:
    host = _host_config(
        *("--privileged", "--init", "--cap-add", "NET_ADMIN", "--cap-add", "ALL"),
        *("--cap-drop", "chown", "--device-cgroup-rule", "c 42:* rmw", "--group-add", "wheel"),
        *("--pid", "host", "--ipc", "container:x", "--uts", "host", "--cgroupns", "host"),
        *("--userns", "host", "--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.sem=1 2"),
        *("--ulimit", "nofile=5:6", "--ulimit", "core=-1", "--device", "/dev/fuse"),
    )
    assert (host["Privileged"], host["Init"]) == (True, True)
    assert (host["CapAdd"], host["CapDrop"]) == (["NET_ADMIN", "ALL"], ["chown"])
    assert (host["DeviceCgroupRules"], host["GroupAdd"]) == (["c 42:* rmw"], ["wheel"])
    modes = ("PidMode", "IpcMode", "UTSMode", "CgroupnsMode", "UsernsMode")
    assert [host[name] for name in modes] == ["host", "container:x", "host", "host", "host"]
    assert host["Sysctls"] == {"net.ipv4.ip_forward": "1", "kernel.sem": "1 2"}
    assert host["Ulimits"] == [
        {"Name": "nofile", "Soft": 5, "Hard": 6},
        {"Name": "core", "Soft": -1, "Hard": -1},
    ]
    assert host["Devices"] == [
        {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/dev/a", ("/dev/a", "/dev/a", "rwm")),
        ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm")),
        ("/dev/a:rm", ("/dev/a", "/dev/a", "rm")),
        ("/dev/a:/dev/b:r", ("/dev/a", "/dev/b", "r")),
    ],
)
def test_a_device_has_up_to_three_parts(text: str, parts: tuple[str, str, str]) -> None:
    assert tuple(isolation.device(text).values()) == parts


def test_a_profile_is_sent_and_not_the_name_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text("{}")
    assert isolation.security_option(f"seccomp={file}") == "seccomp={}"
    for text in ("seccomp=unconfined", "seccomp=builtin", "no-new-privileges", "apparmor=x"):
        assert isolation.security_option(text) == text
    with pytest.raises(CliError, match="--security-opt seccomp=/nowhere: "):
        isolation.security_option("seccomp=/nowhere")


@pytest.mark.parametrize("text", ["nofile", "nofile=", "nofile=x", "=5", "nofile=1:2:3", "n=1:"])
def test_what_is_no_ulimit_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--ulimit"):
        isolation.ulimit(text)


@pytest.mark.parametrize("text", ["a", "=1"])
def test_what_is_no_sysctl_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--sysctl"):
        isolation.sysctl(text)


@pytest.mark.parametrize("text", ["/a:/b:r:w", "", ":/b"])
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--device"):
        isolation.device(text)
