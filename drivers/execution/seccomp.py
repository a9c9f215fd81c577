"""From a profile of system calls to the program that seccomp(2) takes, compiled once."""

from __future__ import annotations

import errno
import functools
import os
import platform
import re
from importlib.resources import files
from typing import Final

from drivers.errors import InvalidRequest, Unsupported
from drivers.execution.seccomp_bpf import INSTRUCTION, answer_newer, refuse_hidden
from drivers.execution.seccomp_profile import Host, Resolved, parse_profile, resolve
from drivers.execution.seccomp_slim import slim
from drivers.kernel import seccomp as k

DEFAULT: Final = "default"
UNCONFINED: Final = "unconfined"

_CACHED = 32  # pairs of profile and capabilities
_OLDEST = (2, 5, 0)  # of libseccomp: the first that can make a binary tree
_MAX_INSTRUCTIONS = 4096  # the kernel's BPF_MAXINSNS
_EPERM = k.Action.ERRNO | errno.EPERM


def filter_of(profile: str, capabilities: frozenset[str]) -> bytes | None:
    """The program of "default", "unconfined" (None) or a profile in Docker's JSON format.

    An array of struct sock_filter. Blocking: the first time takes some milliseconds. Raises
    InvalidRequest for a profile that is wrong, Unsupported if this host cannot filter.
    """
    if profile == UNCONFINED:
        return None
    return compile_filter(default_profile() if profile == DEFAULT else profile, capabilities)


def rules_of(profile: str, capabilities: frozenset[str]) -> Resolved | None:
    """As `filter_of`, for a runtime that compiles them itself. Raises InvalidRequest."""
    if profile == UNCONFINED:
        return None
    text = default_profile() if profile == DEFAULT else profile
    return resolve(parse_profile(text), capabilities, _host())


@functools.cache
def default_profile() -> str:
    """The text of Creche's own allow-list."""
    return (files("drivers.execution") / "seccomp_default.json").read_text()


@functools.lru_cache(_CACHED)
def compile_filter(profile_text: str, capabilities: frozenset[str]) -> bytes:
    """As `filter_of`, of a profile's text."""
    profile = parse_profile(profile_text)
    check_supported()
    return _compile(resolve(profile, capabilities, _host()))


@functools.cache
def check_supported() -> None:
    """Raise Unsupported, saying what would help, if this host cannot filter system calls."""
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        raise Unsupported(
            "seccomp: this kernel has no filters: use one with CONFIG_SECCOMP_FILTER, or "
            "--security-opt seccomp=unconfined"
        )
    try:
        version = k.version()
    except (OSError, AttributeError) as error:
        raise Unsupported(
            f"seccomp: {k.LIBRARY} cannot be loaded: install the package libseccomp2, or use "
            "--security-opt seccomp=unconfined"
        ) from error
    if version < _OLDEST:
        raise Unsupported(
            f"seccomp: libseccomp {'.'.join(map(str, version))} is too old: install "
            f"{'.'.join(map(str, _OLDEST))} or newer"
        )


def _host() -> Host:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    assert found is not None, platform.release()
    return Host(machine=platform.machine(), kernel=(int(found[1]), int(found[2])))


def _compile(resolved: Resolved) -> bytes:
    native = k.native_architecture()
    tokens = [native]
    for name in resolved.architectures:
        token = k.architecture(name)
        if not token:
            raise _wrong(f"architectures: libseccomp does not know {name!r}")
        tokens.append(token)
    try:
        with k.Filter(
            resolved.default_action, architectures=tokens, bad_architecture=_EPERM
        ) as made:
            for rule in resolved.rules:
                if k.syscall_number(rule.syscall, native) != k.UNKNOWN_SYSCALL:
                    made.add(rule)
            program = made.program()
    except OSError as error:
        raise _wrong(f"{error.filename}: {(error.strerror or 'refused').lower()}") from error
    program = refuse_hidden(resolved, tokens) + answer_newer(resolved, tokens) + program
    program = slim(program, tokens)
    if len(program) > _MAX_INSTRUCTIONS * INSTRUCTION.size:
        raise _wrong("it has too many rules for the kernel")
    return program


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(f"invalid seccomp profile: {message}", field="SecurityOpt")
