"""Profiles of system calls in Docker's JSON format, and what one means for one container.

Source: the Engine's documentation, "Seccomp security profiles for Docker", and the runtime
specification, config-linux.md. Pure: text in, rules or InvalidRequest out.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from drivers.errors import InvalidRequest
from drivers.kernel.capabilities import NUMBER_OF
from drivers.kernel.seccomp import Action, Argument, Compare, Rule

ActionName = Literal[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ALLOW",
]
CompareName = Literal[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]
_Uint64 = Annotated[int, msgspec.Meta(ge=0)]  # JSON readers give no more than 64 bits
_Errno = Annotated[int, msgspec.Meta(ge=0, le=4095)]  # the kernel's MAX_ERRNO
_Index = Annotated[int, msgspec.Meta(ge=0, le=5)]
_MAX_BYTES = 1024 * 1024
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
# Go's names of architectures, which profiles use for conditions, by the kernel's.
# Source: the Go documentation's list of GOARCH; x32 and x86 are the profiles' own.
GO_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "x86",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "mips64": "mips64",
}


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of a profile's parts: what is misspelt is an error, not a hole."""


class ArchitectureMap(_Value, frozen=True, kw_only=True):
    """An architecture, and those whose calls its kernel takes as well."""

    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class ArgumentRule(_Value, frozen=True, kw_only=True):
    index: _Index
    value: _Uint64
    value_two: _Uint64 = 0
    op: CompareName


class Condition(_Value, frozen=True, kw_only=True):
    """On the container, its machine and its kernel."""

    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str = ""


class SyscallRule(_Value, frozen=True, kw_only=True):
    name: str = ""  # the older form of `names`
    names: tuple[str, ...] | None = None
    action: ActionName
    errno_ret: _Errno | None = None
    errno: str = ""  # the name of `errnoRet`, for readers
    args: tuple[ArgumentRule, ...] | None = None
    comment: str = ""
    includes: Condition = Condition()
    excludes: Condition = Condition()


class Profile(_Value, frozen=True, kw_only=True):
    """A whole profile."""

    default_action: ActionName
    default_errno_ret: _Errno | None = None
    default_errno: str = ""  # its name, for readers
    arch_map: tuple[ArchitectureMap, ...] | None = None
    architectures: tuple[str, ...] | None = None
    flags: tuple[Literal["SECCOMP_FILTER_FLAG_TSYNC"], ...] | None = None  # one thread: no matter
    syscalls: tuple[SyscallRule, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What conditions ask about this machine."""

    machine: str  # as uname(2) has it: "x86_64"
    kernel: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a profile means for one container on one host."""

    default_action: int
    architectures: tuple[str, ...]  # besides the native one, as libseccomp names them: "x86"
    rules: tuple[Rule, ...]


def parse_profile(text: str) -> Profile:
    """The profile. Raises InvalidRequest naming the key that is wrong."""
    if len(text) > _MAX_BYTES:
        raise _wrong(f"larger than {_MAX_BYTES} bytes")
    try:
        profile = msgspec.json.decode(text.encode(errors="surrogatepass"), type=Profile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(_placed(str(error))) from error
    _check(profile)
    return profile


def _placed(message: str) -> str:
    """msgspec's message with the place in front: "syscalls[3].action: invalid enum value ..."."""
    what, _, place = message.partition(" - at `")
    place = place.rstrip("`").removeprefix("$").removeprefix(".")
    what = what[:1].lower() + what[1:].replace("`", "'")
    return f"{place}: {what}" if place else what


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(f"invalid seccomp profile: {message}", field="SecurityOpt")


def _check(profile: Profile) -> None:
    if profile.architectures and profile.arch_map:
        raise _wrong("architectures: not together with archMap")
    for number, rule in enumerate(profile.syscalls or ()):
        place = f"syscalls[{number}]"
        if bool(rule.name) == bool(rule.names):
            raise _wrong(f"{place}: either name or names")
        for which in ("includes", "excludes"):
            condition: Condition = getattr(rule, which)
            if condition.min_kernel and not _VERSION.fullmatch(condition.min_kernel):
                raise _wrong(f"{place}.{which}.minKernel: {condition.min_kernel!r} is no version")
            for name in condition.caps or ():
                if name not in NUMBER_OF:
                    raise _wrong(f"{place}.{which}.caps: unknown capability {name!r}")
        for name in (rule.name, *(rule.names or ())):
            if "\0" in name:
                raise _wrong(f"{place}.names: a NUL character in {name!r}")


def resolve(profile: Profile, capabilities: frozenset[str], host: Host) -> Resolved:
    """What `profile` means for a container with these capabilities on `host`."""
    default_errno = profile.default_errno_ret
    default = _action(profile.default_action, default_errno)
    rules: list[Rule] = []
    for rule in profile.syscalls or ():
        if not _applies(rule, capabilities, host):
            continue
        action = _action(rule.action, rule.errno_ret)
        if action == default:
            continue  # libseccomp refuses a rule that changes nothing
        rules += _rules(rule, action)
    return Resolved(
        default_action=default,
        architectures=_architectures(profile, host),
        rules=tuple(rules),
    )


def _action(name: ActionName, number: int | None) -> int:
    bare = name.removeprefix("SCMP_ACT_")
    kind = Action.KILL_THREAD if bare == "KILL" else Action[bare]
    if kind in (Action.ERRNO, Action.TRACE):
        return kind | (errno.EPERM if number is None else number)
    return int(kind)


def _applies(rule: SyscallRule, capabilities: frozenset[str], host: Host) -> bool:
    include, exclude = rule.includes, rule.excludes
    machine = GO_ARCHITECTURES.get(host.machine, host.machine)
    return (
        capabilities.issuperset(include.caps or ())
        and (not include.arches or machine in include.arches)
        and (not include.min_kernel or host.kernel >= _version(include.min_kernel))
        and capabilities.isdisjoint(exclude.caps or ())
        and machine not in (exclude.arches or ())
        and not (exclude.min_kernel and host.kernel >= _version(exclude.min_kernel))
    )


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def _rules(rule: SyscallRule, action: int) -> Iterator[Rule]:
    """A rule for each name; for one argument that is compared twice, one for each comparison.

    Those of a rule must all hold, but libseccomp takes an argument only once: runc then lets any
    of them do, and profiles are written for that.
    """
    arguments = tuple(
        Argument(
            index=argument.index,
            compare=Compare[argument.op.removeprefix("SCMP_CMP_")],
            first=argument.value,
            second=argument.value_two,
        )
        for argument in rule.args or ()
    )
    repeated = len({argument.index for argument in arguments}) < len(arguments)
    groups = [(argument,) for argument in arguments] if repeated else [arguments]
    for name in rule.names or (rule.name,):
        for group in groups:
            yield Rule(syscall=name, action=action, arguments=group)


def _architectures(profile: Profile, host: Host) -> tuple[str, ...]:
    """The architectures whose calls get through to the rules, besides the native one."""
    named: list[str] = list(profile.architectures or ())
    native = "SCMP_ARCH_" + {"armv7l": "ARM", "i686": "X86"}.get(host.machine, host.machine).upper()
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            named += entry.sub_architectures or ()
    return tuple(
        name.removeprefix("SCMP_ARCH_").lower() for name in dict.fromkeys(named) if name != native
    )
