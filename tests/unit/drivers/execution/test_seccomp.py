"""Profiles of system calls: what they mean, and how they say that they are wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import InvalidRequest, Unsupported
from drivers.execution import seccomp
from drivers.execution.defaults import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from drivers.execution.seccomp_bpf import INSTRUCTION
from drivers.execution.seccomp_profile import Host, Resolved, parse_profile, resolve
from drivers.kernel import seccomp as k

PODMANS = Path("/usr/share/containers/seccomp.json")  # golang-github-containers-common
X86_64 = Host(machine="x86_64", kernel=(6, 1))
ALLOW, EPERM = k.Action.ALLOW, k.Action.ERRNO | 1
# What Podman allows and Docker, as we, does not; some of it by its own rules for capabilities.
_PODMANS_OWN = """
    keyctl mount umount umount2 unshare pivot_root mount_setattr move_mount open_tree fsconfig
    fsmount fsopen fspick setns reboot syslog mbind get_mempolicy set_mempolicy
    name_to_handle_at pidfd_getfd readdir sigaction signal sigpending sigsuspend syscall
    timerfd socketcall clone3 quotactl
"""
PODMANS_OWN = frozenset(_PODMANS_OWN.split())
# What we allow and Podman's list, which is older, does not know or has dropped.
_OURS_ONLY = """
    cachestat fchmodat2 futex_requeue futex_wait futex_wake futex_waitv map_shadow_stack mseal
    getxattrat listxattrat removexattrat setxattrat uretprobe lsm_get_self_attr
    lsm_list_modules lsm_set_self_attr statmount listmount io_pgetevents io_pgetevents_time64
    vmsplice
"""
OURS_ONLY = frozenset(_OURS_ONLY.split())


def profile(**fields: Any) -> str:
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", **fields})


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **fields: Any) -> dict[str, Any]:
    return {"names": names, "action": action, **fields}


def allowed(text: str, capabilities: frozenset[str] = DEFAULT_CAPABILITIES) -> set[str]:
    return {r.syscall for r in resolved(text, capabilities).rules if r.action == ALLOW}


def resolved(text: str, capabilities: frozenset[str], host: Host = X86_64) -> Resolved:
    return resolve(parse_profile(text), capabilities, host)


def test_conditions_choose_the_rules() -> None:
    text = profile(
        syscalls=[
            rule("always"),
            rule("admin", includes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("no_admin", excludes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("both", includes={"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}),
            rule("amd64", includes={"arches": ["amd64", "x32"]}),
            rule("not_amd64", excludes={"arches": ["amd64"]}),
            rule("newer", includes={"minKernel": "6.1"}),
            rule("newest", includes={"minKernel": "6.10"}),
            rule("nothing", action="SCMP_ACT_ERRNO"),
        ]
    )
    assert allowed(text, frozenset()) == {"always", "no_admin", "amd64", "newer"}
    admin = frozenset({"CAP_SYS_ADMIN", "CAP_CHOWN"})
    assert allowed(text, admin) == {"always", "admin", "both", "amd64", "newer"}


def test_actions_carry_their_number() -> None:
    text = profile(
        defaultErrnoRet=38,
        syscalls=[
            rule("a", action="SCMP_ACT_ERRNO", errnoRet=1),
            rule("b", action="SCMP_ACT_KILL"),
            rule("c", action="SCMP_ACT_KILL_PROCESS"),
            rule("d", action="SCMP_ACT_ERRNO", errnoRet=38),  # as the default: no rule
        ],
    )
    found = resolved(text, frozenset())
    assert found.default_action == k.Action.ERRNO | 38
    assert [(r.syscall, r.action) for r in found.rules] == [
        ("a", EPERM),
        ("b", k.Action.KILL_THREAD),
        ("c", k.Action.KILL_PROCESS),
    ]


def test_architectures_are_those_of_this_machine() -> None:
    maps = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ]
    arm = Host(machine="aarch64", kernel=(6, 1))
    assert resolved(profile(archMap=maps), frozenset()).architectures == ("x86",)
    assert resolved(profile(archMap=maps), frozenset(), arm).architectures == ("arm",)
    listed = profile(architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"])
    assert resolved(listed, frozenset()).architectures == ("x32",)


def test_an_argument_that_is_compared_twice_makes_two_rules() -> None:
    twice = [{"index": 0, "value": v, "op": "SCMP_CMP_EQ"} for v in (1, 2)]
    other = [{"index": i, "value": 1, "op": "SCMP_CMP_EQ"} for i in (0, 1)]
    text = profile(syscalls=[rule("socket", args=twice), rule("socketpair", args=other)])
    found = [(r.syscall, len(r.arguments)) for r in resolved(text, frozenset()).rules]
    assert found == [("socket", 1), ("socket", 1), ("socketpair", 2)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "input data was truncated"),
        ("foo", "invalid seccomp profile: "),
        ("[]", "expected 'object', got 'array'"),
        ("{}", "missing required field 'defaultAction'"),
        ('{"x":' * 100_000, "unknown field 'x'"),
        (profile(syscals=[]), "unknown field 'syscals'"),
        (profile(defaultAction="SCMP_ACT_NOPE"), "defaultAction: invalid enum value"),
        (profile(syscalls=[rule("a", action="ALLOW")]), r"syscalls[0].action: invalid enum"),
        (profile(syscalls=[rule("a", arg=[])]), r"syscalls[0]: object contains unknown field"),
        (profile(syscalls=[rule("a", name="b")]), "syscalls[0]: either name or names"),
        (profile(syscalls=[{"action": "SCMP_ACT_LOG"}]), "syscalls[0]: either name or names"),
        (
            profile(syscalls=[rule("a", args=[{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}])]),
            "syscalls[0].args[0].index: expected 'int' <= 5",
        ),
        (
            profile(syscalls=[rule("a", includes={"caps": ["CAP_FOO"]})]),
            "syscalls[0].includes.caps: unknown capability 'CAP_FOO'",
        ),
        (
            profile(syscalls=[rule("a", excludes={"minKernel": "new"})]),
            "syscalls[0].excludes.minKernel: 'new' is no version",
        ),
        (profile(architectures=["SCMP_ARCH_NOPE"]), "architectures: libseccomp does not know"),
        (profile(architectures=["x"], archMap=[{"architecture": "y"}]), "not together with"),
        (profile(defaultErrnoRet=5000), "defaultErrnoRet: expected 'int' <= 4095"),
        (profile(flags=["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]), "flags[0]: invalid enum value"),
        (profile(syscalls=[rule("a\0b")]), "a NUL character"),
        ("\ud800", "invalid seccomp profile: "),
        (" " * 2_000_000, "larger than"),
    ],
)
def test_a_wrong_profile_is_refused_by_its_key(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        seccomp.compile_filter(text, frozenset())
    assert str(caught.value).startswith("invalid seccomp profile: ")
    assert said in str(caught.value)


def test_a_name_that_libseccomp_does_not_know_is_passed_over() -> None:
    text = profile(syscalls=[rule("read", "no_such_call")])
    assert seccomp.compile_filter(text, frozenset()) == seccomp.compile_filter(
        profile(syscalls=[rule("read")]), frozenset()
    )


def test_a_filter_is_compiled_once_for_a_profile_and_capabilities() -> None:
    first = seccomp.filter_of("default", DEFAULT_CAPABILITIES)
    assert seccomp.filter_of("default", frozenset(DEFAULT_CAPABILITIES)) is first
    assert seccomp.filter_of("default", ALL_CAPABILITIES) != first
    assert first is not None
    assert len(first) % INSTRUCTION.size == 0
    assert len(first) < 1000 * INSTRUCTION.size  # the kernel walks all of it at every start


def test_a_host_without_the_library_says_which_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> tuple[int, int, int]:
        raise OSError("libseccomp.so.2: cannot open shared object file")

    monkeypatch.setattr(k, "version", missing)
    monkeypatch.setattr(seccomp, "check_supported", seccomp.check_supported.__wrapped__)
    with pytest.raises(Unsupported, match="install the package libseccomp2"):
        seccomp.compile_filter(f" {profile()}", frozenset())


@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, ALL_CAPABILITIES])
def test_the_default_list_differs_from_podmans_where_docker_does(
    capabilities: frozenset[str],
) -> None:
    theirs = allowed(PODMANS.read_text(), capabilities)
    ours = allowed(seccomp.default_profile(), capabilities)
    if capabilities == DEFAULT_CAPABILITIES:
        assert theirs - ours <= PODMANS_OWN | {"process_madvise"}
        assert ours - theirs <= OURS_ONLY | {"process_vm_readv", "process_vm_writev"}
    assert not ours & {"keyctl", "io_uring_setup", "userfaultfd", "kexec_load", "swapon"}


def test_podmans_profile_can_be_loaded() -> None:
    assert seccomp.compile_filter(PODMANS.read_text(), DEFAULT_CAPABILITIES)


def test_a_failed_compilation_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    for number in range(20):
        with pytest.raises(InvalidRequest):
            seccomp.compile_filter(profile(architectures=[f"SCMP_ARCH_{number}"]), frozenset())
    assert len(os.listdir("/proc/self/fd")) == len(before)
