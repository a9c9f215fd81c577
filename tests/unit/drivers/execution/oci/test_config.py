"""Commands as config.json, and limits as its resources."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from drivers.errors import InvalidRequest, SpawnFailed
from drivers.execution.base import (
    Command,
    Device,
    IdMap,
    IdRange,
    MountAt,
    Namespaces,
    Process,
    Rlimit,
    WindowSize,
)
from drivers.execution.defaults import ALL_CAPABILITIES, DEFAULT_CAPABILITIES, DEFAULT_MASKED_PATHS
from drivers.execution.oci.config import Place, make_config
from drivers.execution.oci.process import further_process
from drivers.execution.oci.resources import make_resources
from drivers.execution.oci.seccomp import linux_seccomp
from drivers.execution.resources import DeviceRate, DeviceRule, DeviceWeight, Limits
from drivers.execution.user import Identity

_COMMAND = Command(key="k", root_fd=9, argv=("sh", "-c", "true"), env=("PATH=/bin",))
_PLACE = Place(cgroups_path="/creche/k", rootfs="/b/rootfs", mount_sources=())
_ALICE = Identity(uid=1000, gid=1001, groups=(1001, 10), home="/home/alice")


def _config(
    command: Command = _COMMAND, identity: Identity | None = None, place: Place = _PLACE
) -> dict[str, Any]:
    config = make_config(command, identity or Identity(), place)
    decoded: dict[str, Any] = json.loads(json.dumps(config))
    return decoded


def test_a_plain_command_has_dockers_defaults() -> None:
    config = _config()
    process, linux = config["process"], config["linux"]
    assert config["ociVersion"] == "1.0.2"
    assert config["root"] == {"path": "/b/rootfs", "readonly": False}
    assert (process["args"], process["cwd"]) == (["sh", "-c", "true"], "/")
    assert process["env"] == ["PATH=/bin", "HOME=/"]
    assert (process["terminal"], process["noNewPrivileges"]) == (False, False)
    assert set(process["capabilities"]["bounding"]) == DEFAULT_CAPABILITIES
    assert process["capabilities"]["inheritable"] == process["capabilities"]["ambient"] == []
    assert {n["type"] for n in linux["namespaces"]} == {
        *("mount", "pid", "ipc", "uts", "network", "cgroup")
    }
    assert not any("path" in n for n in linux["namespaces"])
    assert linux["cgroupsPath"] == "/creche/k"
    assert linux["maskedPaths"] == list(DEFAULT_MASKED_PATHS)
    assert linux["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert "seccomp" not in linux
    assert "oomScoreAdj" not in process


def test_a_user_keeps_capabilities_in_the_bounding_set_only() -> None:
    process = _config(identity=_ALICE)["process"]
    assert process["user"] == {"uid": 1000, "gid": 1001, "additionalGids": [1001, 10]}
    assert process["capabilities"]["effective"] == process["capabilities"]["permitted"] == []
    assert set(process["capabilities"]["bounding"]) == DEFAULT_CAPABILITIES
    assert process["env"][-1] == "HOME=/home/alice"


def test_a_home_that_is_given_stays() -> None:
    command = replace(_COMMAND, env=("HOME=/h",))
    assert _config(command, _ALICE)["process"]["env"] == ["HOME=/h"]


def test_capabilities_that_the_kernel_does_not_know_are_left_out() -> None:
    command = replace(_COMMAND, capabilities=ALL_CAPABILITIES)
    process = _config(command, place=replace(_PLACE, last_capability=37))["process"]
    assert len(process["capabilities"]["bounding"]) == 38


def test_namespaces_are_new_the_hosts_or_joined_by_path() -> None:
    namespaces = Namespaces(pid="host", ipc=7, network=8, cgroup="host")
    place = replace(_PLACE, namespace_paths={"ipc": "/proc/1/fd/7", "network": "/proc/1/fd/8"})
    config = _config(replace(_COMMAND, namespaces=namespaces), place=place)
    assert config["linux"]["namespaces"] == [
        {"type": "mount"},
        {"type": "ipc", "path": "/proc/1/fd/7"},
        {"type": "uts"},
        {"type": "network", "path": "/proc/1/fd/8"},
    ]


def test_a_user_namespace_has_both_maps() -> None:
    ids = IdRange(container_id=0, host_id=100000, size=65536)
    linux = _config(replace(_COMMAND, id_map=IdMap(uids=(ids,), gids=(ids,))))["linux"]
    assert {"type": "user"} in linux["namespaces"]
    assert linux["uidMappings"] == linux["gidMappings"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 100000, "size": 65536}]


def test_mounts_come_after_the_kernels_in_their_order() -> None:
    mounts = (MountAt(fd=3, target="/b"), MountAt(fd=4, target="/a"))
    place = replace(_PLACE, mount_sources=("/b/mounts/0", "/b/mounts/1"))
    config = _config(replace(_COMMAND, mounts=mounts), place=place)
    own = config["mounts"][-2:]
    assert [(m["source"], m["destination"]) for m in own] == [
        ("/b/mounts/0", "/b"),
        ("/b/mounts/1", "/a"),
    ]
    assert {m["type"] for m in own} == {"bind"}


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "//proc/../proc/self/attr", "/x/../proc"])
def test_a_mount_over_proc_is_refused(target: str) -> None:
    command = replace(_COMMAND, mounts=(MountAt(fd=3, target=target),))
    with pytest.raises(SpawnFailed, match="a mount may not cover a part of /proc"):
        _config(command, place=replace(_PLACE, mount_sources=("/b/mounts/0",)))


@pytest.mark.parametrize(("writable", "access"), [(False, "ro"), (True, "rw")])
def test_sys_and_its_control_groups_are_writable_only_if_asked(writable: bool, access: str) -> None:
    config = _config(replace(_COMMAND, writable_sys=writable, shm_size_bytes=4096))
    options = {m["destination"]: m["options"] for m in config["mounts"]}
    assert access in options["/sys"]
    assert access in options["/sys/fs/cgroup"]
    assert "size=4096" in options["/dev/shm"]


def test_what_is_asked_for_besides_is_said() -> None:
    command = replace(
        _COMMAND,
        terminal=WindowSize(rows=24, columns=80),
        apparmor="mine",
        no_new_privs=True,
        read_only=True,
        oom_score_adj=-5,
        hostname="crib",
        domainname="nursery",
        sysctls=(("net.ipv4.ip_forward", "1"),),
        rlimits=(Rlimit(name="nofile", soft=10, hard=-1),),
        devices=(Device(path="/dev/d", kind="b", major=7, minor=1, mode=0o600, uid=1, gid=2),),
    )
    config = _config(command, place=replace(_PLACE, seccomp={"defaultAction": "SCMP_ACT_LOG"}))
    process, linux = config["process"], config["linux"]
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert (process["apparmorProfile"], process["oomScoreAdj"]) == ("mine", -5)
    assert (process["noNewPrivileges"], config["root"]["readonly"]) == (True, True)
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 2**64 - 1}]
    assert config["hostname"] == "crib"
    assert linux["sysctl"] == {"net.ipv4.ip_forward": "1", "kernel.domainname": "nursery"}
    assert linux["devices"] == [
        {
            "path": "/dev/d",
            "type": "b",
            "major": 7,
            "minor": 1,
            "fileMode": 0o600,
            "uid": 1,
            "gid": 2,
        }
    ]
    assert linux["seccomp"] == {"defaultAction": "SCMP_ACT_LOG"}


@pytest.mark.parametrize("part", [{"argv": ("\udcff",)}, {"env": ("A=\udcff",)}])
def test_text_that_json_cannot_carry_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="no UTF-8"):
        _config(replace(_COMMAND, **part))


def test_a_further_process_is_as_the_container_but_for_what_it_says() -> None:
    container = replace(_COMMAND, apparmor="mine", rlimits=(Rlimit(name="nproc", soft=1, hard=2),))
    process = Process(key="k", argv=("id",), env=(), privileged=True, no_new_privs=True)
    found = further_process(process, container, Identity(), last_capability=63)
    assert set(found["capabilities"]["effective"]) == ALL_CAPABILITIES
    assert found["apparmorProfile"] == "mine"
    assert found["rlimits"] == [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 2}]
    assert found["noNewPrivileges"]
    plain = further_process(
        replace(process, privileged=False), container, _ALICE, last_capability=63
    )
    assert set(plain["capabilities"]["bounding"]) == DEFAULT_CAPABILITIES


_ALL_LIMITS = Limits(
    memory_bytes=64,
    memory_swap_bytes=128,
    memory_reservation_bytes=32,
    nano_cpus=1_500_000_000,
    cpu_shares=512,
    cpuset_cpus="0-1",
    cpuset_mems="0",
    pids=20,
    oom_kill_disable=True,
    blkio_weight=300,
    blkio_weight_device=(DeviceWeight(major=8, minor=0, weight=200),),
    device_read_bps=(DeviceRate(major=8, minor=0, rate=1024),),
    device_write_iops=(DeviceRate(major=8, minor=16, rate=10),),
)


def test_every_limit_has_its_place() -> None:
    rule = DeviceRule(kind="c", major=10, access="rw")
    assert make_resources(_ALL_LIMITS, [rule], swap=True) == {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "access": "rw"},
        ],
        "memory": {"limit": 64, "swap": 128, "reservation": 32, "disableOOMKiller": True},
        "cpu": {"period": 100_000, "quota": 150_000, "shares": 512, "cpus": "0-1", "mems": "0"},
        "blockIO": {
            "weight": 300,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 200}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 10}],
        },
        "pids": {"limit": 20},
    }


def test_swap_is_not_limited_where_the_kernel_does_not_count_it() -> None:
    limits = Limits(memory_bytes=64, memory_swap_bytes=128)
    assert make_resources(limits, (), swap=False)["memory"] == {"limit": 64}


def test_a_quota_with_its_period_is_taken_as_it_is() -> None:
    limits = Limits(cpu_period_usec=50_000, cpu_quota_usec=25_000)
    assert make_resources(limits, (), swap=True)["cpu"] == {"period": 50_000, "quota": 25_000}


@dataclass(frozen=True)
class _Argument:
    index: int
    compare: int
    first: int
    second: int = 0


@dataclass(frozen=True)
class _Rule:
    syscall: str
    action: int
    arguments: tuple[_Argument, ...] = ()


@dataclass(frozen=True)
class _Resolved:
    default_action: int
    architectures: tuple[str, ...]
    rules: tuple[_Rule, ...]


def test_a_resolved_profile_becomes_the_specifications_object() -> None:
    allow, errno_1, errno_38 = 0x7FFF0000, 0x00050001, 0x00050026
    profile = _Resolved(
        default_action=errno_1,
        architectures=("x86", "x32"),
        rules=(
            _Rule("read", allow),
            _Rule("personality", allow, (_Argument(0, 4, 8),)),
            _Rule("write", allow),
            _Rule("clone", allow, (_Argument(0, 7, 0x7E020000),)),
            _Rule("clone3", errno_38),
        ),
    )
    assert linux_seccomp(profile) == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
            },
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
                ],
            },
        ],
    }
