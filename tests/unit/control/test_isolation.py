"""Isolation's options through the API: refused before anything is made, carried out, shown."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drivers.execution.base import Command, Namespaces
from drivers.execution.defaults import DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS
from tests.fakes.execution import exits, runs_forever
from tests.unit.control.api import Api, open_api

QUICK = ("quick",)
INIT = ("/sbin/docker-init", "--")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    scripts = {QUICK: exits(), (*INIT, *QUICK): exits(), ("up",): runs_forever()}
    async with open_api(tmp_path, scripts) as opened:
        yield opened


async def run(api: Api, **host: Any) -> Command:
    """The command of a container with these options."""
    made = await api.run(*QUICK, HostConfig=host)
    return next(c for c in api.world.execution.commands if c.key == made)


async def inspect(api: Api, made: str) -> Any:
    return (await api.ask("GET", f"/containers/{made}/json")).json


async def start(api: Api, made: str) -> tuple[int, str]:
    reply = await api.ask("POST", f"/containers/{made}/start")
    return reply.status, reply.message if reply.body else ""


ASKED: dict[str, Any] = {
    "CapAdd": ["net_admin", "CAP_SYS_TIME"],
    "CapDrop": ["CHOWN"],
    "CgroupnsMode": "host",
    "DeviceCgroupRules": ["c 42:* rmw"],
    "Devices": [
        {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/z", "CgroupPermissions": "rw"}
    ],
    "GroupAdd": ["wheel", "5"],
    "Init": True,
    "IpcMode": "shareable",
    "MaskedPaths": ["/proc/kcore"],
    "PidMode": "",
    "Privileged": False,
    "ReadonlyPaths": [],
    "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "label=disable"],
    "Sysctls": {"net.ipv4.ip_forward": "1"},
    "UTSMode": "",
    "Ulimits": [{"Name": "nofile", "Hard": 20, "Soft": 10}],
    "UsernsMode": "host",
    "OomScoreAdj": 5,
}


async def test_inspect_shows_all_options_back(api: Api) -> None:
    made = await api.create(*QUICK, HostConfig=ASKED)
    shown = (await inspect(api, made))["HostConfig"]
    assert {name: shown[name] for name in ASKED} == ASKED


async def test_inspect_shows_the_defaults(api: Api) -> None:
    shown = (await inspect(api, await api.create(*QUICK)))["HostConfig"]
    assert shown["MaskedPaths"] == list(DEFAULT_MASKED_PATHS)
    assert shown["ReadonlyPaths"] == list(DEFAULT_READONLY_PATHS)
    none = ("CapAdd", "CapDrop", "SecurityOpt", "Init", "GroupAdd", "Sysctls")
    assert [shown[name] for name in none] == [None] * len(none)
    assert (shown["Privileged"], shown["IpcMode"]) == (False, "private")


async def test_options_reach_the_driver(api: Api) -> None:
    command = await run(api, **ASKED)
    assert command.argv == (*INIT, *QUICK)
    assert command.mounts[-1].target == INIT[0]
    assert {"CAP_NET_ADMIN", "CAP_SYS_TIME"} < command.capabilities
    assert "CAP_CHOWN" not in command.capabilities
    assert command.namespaces == Namespaces(cgroup="host")
    assert [(d.path, d.major, d.minor) for d in command.devices] == [("/dev/z", 1, 5)]
    assert [(r.kind, r.major, r.minor, r.access) for r in command.device_rules] == [
        ("c", 42, None, "rwm"),
        ("c", 1, 5, "rw"),
    ]
    assert command.group_add == ("wheel", "5")
    assert (command.masked_paths, command.readonly_paths) == (("/proc/kcore",), ())
    assert (command.no_new_privs, command.seccomp) == (True, "unconfined")
    assert command.sysctls == (("net.ipv4.ip_forward", "1"),)
    assert [(limit.name, limit.soft, limit.hard) for limit in command.rlimits] == [
        ("nofile", 10, 20)
    ]
    assert command.oom_score_adj == 5


async def test_a_privileged_container_is_not_confined(api: Api) -> None:
    command = await run(api, Privileged=True)
    assert command.seccomp == "unconfined"
    assert command.writable_sys
    assert command.masked_paths == command.readonly_paths == ()
    assert "/dev/fuse" in {device.path for device in command.devices}
    assert [(rule.allow, rule.kind) for rule in command.device_rules] == [(True, "a")]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ({"CapAdd": ["CAP_FOO"]}, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ({"CapDrop": ["foo"]}, 'invalid CapDrop: unknown capability: "CAP_FOO"'),
        ({"SecurityOpt": ["foo"]}, 'invalid --security-opt 1: "foo"'),
        ({"SecurityOpt": ["foo=bar"]}, 'invalid --security-opt 2: "foo=bar"'),
        (
            {"SecurityOpt": ["no-new-privileges:maybe"]},
            'invalid --security-opt 2: "no-new-privileges:maybe"',
        ),
        ({"SecurityOpt": ["systempaths=x"]}, 'invalid --security-opt 2: "systempaths=x"'),
        ({"SecurityOpt": ["seccomp=nope"]}, "invalid seccomp profile: "),
        (
            {"SecurityOpt": ['seccomp={"defaultAction": "SCMP_ACT_NOPE"}']},
            "invalid seccomp profile: defaultAction: ",
        ),
        (
            {"Devices": [{"PathOnHost": "/dev/nope", "CgroupPermissions": "rwm"}]},
            'while adding custom device "/dev/nope": no such file or directory',
        ),
        (
            {"Devices": [{"PathOnHost": "/dev/null", "CgroupPermissions": ""}]},
            "invalid device mode: ",
        ),
        ({"DeviceCgroupRules": ["x"]}, "invalid device cgroup rule format: 'x'"),
        ({"Ulimits": [{"Name": "foo", "Soft": 1, "Hard": 1}]}, "invalid ulimit type: foo"),
        ({"Ulimits": [{"Name": "core", "Soft": 2, "Hard": 1}]}, "invalid ulimit core: "),
        (
            {"Sysctls": {"vm.swappiness": "1"}},
            'sysctl "vm.swappiness" is not in a separate kernel namespace',
        ),
        ({"PidMode": "foo"}, "invalid PID mode: foo"),
        ({"PidMode": "container:nope"}, "No such container: nope"),
        ({"IpcMode": "container:nope"}, "No such container: nope"),
        ({"CgroupnsMode": "foo"}, "invalid cgroup namespace mode: foo"),
        ({"OomScoreAdj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        ({"CapAdd": "CHOWN"}, "invalid JSON: "),
        ({"Ulimits": [{"Name": "core", "Soft": 2**70, "Hard": 1}]}, "invalid JSON: "),
    ],
)
async def test_what_is_wrong_is_refused_before_anything_is_made(
    api: Api, tmp_path: Path, host: dict[str, Any], said: str
) -> None:
    reply = await api.ask(
        "POST", "/containers/create", {"Image": "box", "Cmd": QUICK, "HostConfig": host}
    )
    assert reply.status == 400
    assert said in reply.message
    assert os.listdir(tmp_path / "containers") == []
    assert api.world.manager.all() == []


async def test_a_hostname_and_the_hosts_do_not_go_together(api: Api) -> None:
    body = {"Image": "box", "Cmd": QUICK, "HostConfig": {"UTSMode": "host"}}
    reply = await api.ask("POST", "/containers/create", {**body, "Hostname": "x"})
    assert (reply.status, reply.message) == (
        400,
        "conflicting options: hostname and the UTS mode",
    )
    made = await api.run(*QUICK, HostConfig={"UTSMode": "host"})
    command = api.world.execution.commands[-1]
    assert (command.namespaces.uts, command.hostname) == ("host", "")
    assert (await inspect(api, made))["Config"]["Hostname"] == os.uname().nodename


async def test_init_is_left_out_where_it_would_not_be_number_one(api: Api) -> None:
    command = await run(api, Init=True, PidMode="host")
    assert (command.argv, command.namespaces.pid) == (QUICK, "host")


async def test_the_hosts_ipc_comes_with_its_shared_memory(api: Api) -> None:
    command = await run(api, IpcMode="host")
    assert command.namespaces.ipc == "host"
    assert "/dev/shm" in [mount.target for mount in command.mounts]
    assert command.shm_size_bytes == 0
    none = await run(api, IpcMode="none")
    assert (none.namespaces.ipc, none.shm_size_bytes) == ("new", 0)


async def test_a_container_that_is_down_cannot_be_joined(api: Api) -> None:
    other = await api.create("up", name="other", HostConfig={"IpcMode": "shareable"})
    for field, prefix in (("PidMode", ""), ("IpcMode", f"can't join IPC of container {other}: ")):
        made = await api.create(*QUICK, HostConfig={field: "container:other"})
        assert (await inspect(api, made))["HostConfig"][field] == f"container:{other}"
        assert await start(api, made) == (409, f"{prefix}container {other} is not running")


async def test_an_option_without_effect_is_told(api: Api) -> None:
    host = {"SecurityOpt": ["apparmor=mine", "label=type:t"]}
    body = {"Image": "box", "Cmd": QUICK, "HostConfig": host}
    reply = await api.ask("POST", "/containers/create", body)
    assert reply.json["Warnings"] == [
        "AppArmor is off on this host: profile mine has no effect",
        "Creche sets no SELinux labels: --security-opt label has no effect",
    ]
