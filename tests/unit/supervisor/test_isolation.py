"""What isolation's options mean, and how they say that they are wrong."""

from __future__ import annotations

import os
from typing import Any

import pytest

from drivers.errors import InvalidRequest
from drivers.execution.base import Device
from drivers.execution.defaults import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    DEFAULT_MASKED_PATHS,
)
from drivers.execution.resources import DeviceRule
from supervisor import isolation as module
from supervisor.capabilities import capabilities_of
from supervisor.devices import devices_of, parse_rule
from supervisor.init import find_init, is_static
from supervisor.isolation import check_here, check_values, confine, warnings_of
from supervisor.kernel_settings import sysctls_of
from supervisor.spec import ContainerSpec, DeviceMapping, Isolation, Ulimit

HOST = ALL_CAPABILITIES - {"CAP_SYS_RESOURCE"}


def spec(*, network: str = "none", hostname: str = "", oom_score_adj: int | None = None,
         **fields: Any) -> ContainerSpec:  # fmt: skip
    return ContainerSpec(
        network=network,
        hostname=hostname,
        oom_score_adj=oom_score_adj,
        isolation=Isolation(**fields),
    )


@pytest.mark.parametrize(
    ("add", "drop", "wanted"),
    [
        ((), (), DEFAULT_CAPABILITIES),
        (("net_admin", "CAP_BPF"), (), DEFAULT_CAPABILITIES | {"CAP_NET_ADMIN", "CAP_BPF"}),
        ((), ("chown", "Cap_Kill"), DEFAULT_CAPABILITIES - {"CAP_CHOWN", "CAP_KILL"}),
        (("CHOWN",), ("chown",), DEFAULT_CAPABILITIES),  # what is added is there
        (("chown",), ("all",), {"CAP_CHOWN"}),
        (("all",), (), HOST),
        (("ALL",), ("sys_admin",), HOST - {"CAP_SYS_ADMIN"}),
        (("ALL",), ("ALL",), HOST),
        ((), ("sys_resource",), DEFAULT_CAPABILITIES),
    ],
)  # fmt: skip
def test_capabilities_are_added_and_dropped_by_dockers_rules(
    add: tuple[str, ...], drop: tuple[str, ...], wanted: frozenset[str]
) -> None:
    assert capabilities_of(Isolation(cap_add=add, cap_drop=drop), HOST) == wanted
    privileged = Isolation(privileged=True, cap_add=add, cap_drop=drop)
    assert capabilities_of(privileged, HOST) == HOST


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cap_add": ("foo",)}, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ({"cap_drop": ("CAP_FOO",)}, 'invalid CapDrop: unknown capability: "CAP_FOO"'),
        ({"cap_add": ("",)}, 'invalid CapAdd: unknown capability: "CAP_"'),
        (
            {"cap_add": ("sys_resource",)},
            "invalid CapAdd: capability not supported by your kernel or not available in the "
            'current environment: "CAP_SYS_RESOURCE"',
        ),
    ],
)
def test_a_capability_that_cannot_be_had_is_refused(
    fields: dict[str, tuple[str, ...]], said: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        capabilities_of(Isolation(**fields), HOST)
    assert str(caught.value) == said


def test_a_daemon_without_a_default_capability_gives_the_others() -> None:
    nested = HOST - {"CAP_MKNOD", "CAP_AUDIT_WRITE"}
    assert capabilities_of(Isolation(), nested) == DEFAULT_CAPABILITIES & nested
    with pytest.raises(InvalidRequest, match="not available in the current environment"):
        capabilities_of(Isolation(cap_add=("mknod",)), nested)


def test_a_privileged_container_has_everything() -> None:
    found = confine(spec(privileged=True))
    assert found.capabilities > DEFAULT_CAPABILITIES
    assert (found.seccomp, found.apparmor, found.writable_sys) == ("unconfined", "", True)
    assert found.masked_paths == found.readonly_paths == ()
    devices, rules = devices_of(Isolation(privileged=True))
    assert "/dev/fuse" in {device.path for device in devices}
    assert not {"/dev/null", "/dev/tty"} & {device.path for device in devices}
    assert rules == (DeviceRule(kind="a"),)


def test_a_usual_container_has_the_defaults() -> None:
    found = confine(spec())
    assert found.capabilities == DEFAULT_CAPABILITIES
    assert (found.seccomp, found.writable_sys) == ("default", False)
    assert found.masked_paths == DEFAULT_MASKED_PATHS
    assert devices_of(Isolation()) == ((), ())


@pytest.mark.parametrize(
    ("asked", "privileged", "means"),
    [
        ("", False, "default"),
        ("builtin", False, "default"),
        ("builtin", True, "default"),
        ("unconfined", False, "unconfined"),
        ("{}", True, "{}"),
        ("", True, "unconfined"),
    ],
)
def test_the_profile_that_is_asked_for_counts(asked: str, privileged: bool, means: str) -> None:
    assert confine(spec(seccomp=asked, privileged=privileged)).seccomp == means


def test_a_device_becomes_its_numbers() -> None:
    status = os.stat("/dev/zero")
    zero = DeviceMapping(source="/dev/zero", target="y", access="rwm")
    devices, rules = devices_of(Isolation(devices=(zero,), device_cgroup_rules=("b *:7 m",)))
    mode = status.st_mode & 0o7777
    assert devices == (
        Device(path="/y", kind="c", major=1, minor=5, mode=mode, source="/dev/zero"),
    )
    assert rules == (
        DeviceRule(kind="b", minor=7, access="m"),
        DeviceRule(kind="c", major=1, minor=5),
    )


def test_a_directory_is_all_devices_below_it(tmp_path: os.PathLike[str]) -> None:
    below = os.path.join(tmp_path, "a", "b")
    os.makedirs(below)
    os.mknod(os.path.join(below, "null"), 0o20600, os.makedev(1, 3))
    os.symlink("/dev/zero", os.path.join(below, "link"))
    mapping = DeviceMapping(source=str(tmp_path), target="/dev/all", access="r")
    devices, rules = devices_of(Isolation(devices=(mapping,)))
    assert [(d.path, d.major, d.minor, d.mode) for d in devices] == [
        ("/dev/all/a/b/null", 1, 3, 0o600)
    ]
    assert rules == (DeviceRule(kind="c", major=1, minor=3, access="r"),)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/dev/nope", "no such file or directory"),
        ("/etc/passwd", "not a device node"),
        ("/etc", "not a device node"),
        ("/etc/passwd/x", "not a directory"),
        ("/dev/shm", "not a device node"),
    ],
)
def test_a_path_that_is_no_device_is_refused_in_dockers_words(path: str, cause: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        devices_of(Isolation(devices=(DeviceMapping(source=path, target="/dev/x"),)))
    assert str(caught.value) == (
        f'error gathering device information while adding custom device "{path}": {cause}'
    )


@pytest.mark.parametrize(
    "text",
    ["a", "b 8:0", "x 1:1 r", "c 1:1 q", "c 1 r", "c -1:3 r", " c 1:3 r", "c 4294967296:1 r",
     "c 1:1 rwmr", "c 1:1  r", "c \u0661:1 r", "c 1:1 r\n", ""],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid device cgroup rule format: "):
        parse_rule(text)


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"pid_mode": "foo"}, "PidMode", "invalid PID mode: foo"),
        ({"pid_mode": "container:"}, "PidMode", "invalid PID mode: container:"),
        ({"ipc_mode": "foo"}, "IpcMode", "invalid IPC mode: foo"),
        ({"uts_mode": "container:x"}, "UTSMode", "invalid UTS mode: container:x"),
        ({"cgroupns_mode": "foo"}, "CgroupnsMode", "invalid cgroup namespace mode: foo"),
        ({"userns_mode": "foo"}, "UsernsMode", "invalid userns mode: foo"),
        (
            {"uts_mode": "host", "hostname": "x"},
            "Hostname",
            "conflicting options: hostname and the UTS mode",
        ),
        (
            {"oom_score_adj": -1001},
            "OomScoreAdj",
            "Invalid value -1001, range for oom score adj is [-1000, 1000]",
        ),
        (
            {"ulimits": (Ulimit(name="foo", soft=1, hard=1),)},
            "Ulimits",
            "invalid ulimit type: foo",
        ),
        (
            {"ulimits": (Ulimit(name="core", soft=3, hard=2),)},
            "Ulimits",
            "invalid ulimit core: soft limit must be less than or equal to hard limit: 3 > 2",
        ),
        (
            {"ulimits": (Ulimit(name="core", soft=-1, hard=2),)},
            "Ulimits",
            "invalid ulimit core: soft limit must be less than or equal to hard limit: -1 > 2",
        ),
        (
            {"ulimits": (Ulimit(name="core", soft=-2, hard=-2),)},
            "Ulimits",
            "invalid ulimit core: -2 is negative (-1 is unlimited)",
        ),
        (
            {"devices": (DeviceMapping(source="/dev/fuse", target="/x", access="rwx"),)},
            "Devices",
            "invalid device mode: rwx",
        ),
        (
            {"devices": (DeviceMapping(source="fuse", target="/x"),)},
            "Devices",
            'invalid device "fuse": not an absolute path',
        ),
        (
            {"devices": (DeviceMapping(source="/dev/fuse", target="/x/.."),)},
            "Devices",
            'invalid device target "/x/.."',
        ),
        ({"masked_paths": ("x",)}, "MaskedPaths", "invalid path 'x': not absolute"),
        ({"cap_add": ("foo",)}, "CapAdd", 'invalid CapAdd: unknown capability: "CAP_FOO"'),
    ],
)
def test_what_is_wrong_everywhere_is_named(fields: Any, field: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_values(spec(**fields))
    assert (caught.value.field, str(caught.value)) == (field, said)


@pytest.mark.parametrize(
    ("name", "fields", "network", "reason"),
    [
        ("vm.swappiness", {}, "none", "is not in a separate kernel namespace"),
        ("kernel.panic", {}, "none", "is not in a separate kernel namespace"),
        ("kernel.shm_next_id", {}, "none", "is not in a separate kernel namespace"),
        ("net.ipv4.ip_forward", {}, "host", "not allowed in host network namespace"),
        ("kernel.shmmax", {"ipc_mode": "host"}, "none", "not allowed in the hosts ipc namespace"),
        ("fs.mqueue.msg_max", {"ipc_mode": "host"}, "none", "hosts ipc namespace"),
        ("kernel.domainname", {"uts_mode": "host"}, "none", "hosts uts namespace"),
        ("kernel.hostname", {}, "none", "conflicts with the hostname"),
        ("net.../../x", {}, "none", "is no name"),
        ("net/../../kernel/panic", {}, "none", "is no name"),
        ("net", {}, "none", "is no name"),
        ("", {}, "none", "is no name"),
        ("net.\0", {}, "none", "is no name"),
    ],
)
def test_a_parameter_of_the_host_is_refused(
    name: str, fields: dict[str, str], network: str, reason: str
) -> None:
    asked = Isolation(sysctls={name: "1"}, **fields)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=reason) as caught:
        sysctls_of(asked, host_network=network == "host")
    assert f'"{name}"' in str(caught.value)


def test_parameters_have_dots_between_their_parts() -> None:
    sysctls = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/conf/eth0.5/rp_filter": "0",
        "kernel.sem": "250 32000 100 128",
        "fs/mqueue/msg_max": "9",
    }
    assert sysctls_of(Isolation(sysctls=sysctls), host_network=False) == (
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.eth0/5.rp_filter", "0"),
        ("kernel.sem", "250 32000 100 128"),
        ("fs.mqueue.msg_max", "9"),
    )


def test_the_last_of_two_limits_of_a_name_counts() -> None:
    twice = tuple(Ulimit(name="core", soft=n, hard=n) for n in (1, 2))
    assert [(r.name, r.hard) for r in confine(spec(ulimits=twice)).rlimits] == [("core", 2)]


def test_a_profile_is_compiled_before_anything_is_made() -> None:
    text = '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NOPE"]}'
    with pytest.raises(InvalidRequest, match="invalid seccomp profile: architectures"):
        check_here(spec(seccomp=text))
    check_here(spec(init=True))


def test_an_apparmor_profile_has_no_effect_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    asked = spec(apparmor="mine")
    monkeypatch.setattr(module, "_APPARMOR", tmp_path / "enabled")
    assert confine(asked).apparmor == ""
    assert warnings_of(asked) == ["AppArmor is off on this host: profile mine has no effect"]
    (tmp_path / "enabled").write_text("Y\n")
    (tmp_path / "profiles").write_text("docker-default (enforce)\n")
    monkeypatch.setattr(module, "_APPARMOR_PROFILES", tmp_path / "profiles")
    assert warnings_of(asked) == []
    with pytest.raises(InvalidRequest, match='apparmor profile "mine" is not loaded'):
        check_here(asked)
    check_here(spec(apparmor="docker-default"))


def test_only_a_program_without_a_loader_is_lent() -> None:
    assert is_static(find_init())
    assert [is_static(path) for path in ("/usr/bin/env", "/etc/passwd", "/nowhere")] == [False] * 3
