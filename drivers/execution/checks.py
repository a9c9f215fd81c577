"""What no driver can pass to a kernel, refused before anything is made."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from drivers.errors import InvalidRequest, Unsupported
from drivers.execution.base import Command, Process
from drivers.kernel.capabilities import NUMBER_OF

RLIMITS: dict[str, int] = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"  # BSD's name of NOFILE
}


def check_key(key: str) -> None:
    """Raise InvalidRequest for a key that cannot name a directory."""
    if not key or "/" in key or key.startswith("."):
        raise InvalidRequest(f"invalid key {key!r}: it names a control group")


def check_command(command: Command) -> None:
    """Raise InvalidRequest for what no container can be."""
    _check_program(command)
    targets = [mount.target for mount in command.mounts]
    for target in targets:
        if not target.startswith("/") or target.strip("/") == "":
            raise InvalidRequest(f"invalid mount target {target!r}: not below /")
    _check_texts((command.hostname, command.domainname, *targets))
    _check_capabilities(command.capabilities)
    for limit in command.rlimits:
        if limit.name not in RLIMITS:
            raise InvalidRequest(f"invalid ulimit type: {limit.name}", field="Ulimits")


def check_can_end(command: Command, *, has_groups: bool) -> None:
    """Raise Unsupported for a container some of whose processes could outlive it."""
    if command.namespaces.pid == "host" and not has_groups:
        raise Unsupported(
            "PID mode host: without a control group of its own, processes that the container "
            "leaves could not be ended: delegate one to the daemon (see `crechectl doctor`)"
        )


def check_process(process: Process) -> None:
    """Raise InvalidRequest for what no further process can be."""
    _check_program(process)


def _check_program(program: Command | Process) -> None:
    if not program.argv:
        raise InvalidRequest("no command specified", field="Cmd")
    for item in program.env:
        if "=" not in item[1:]:
            raise InvalidRequest(f"invalid environment variable: {item!r}", field="Env")
    _check_texts((*program.argv, *program.env, program.cwd))


def _check_texts(texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise InvalidRequest(f"a NUL character in {text!r}")
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"no text: {text!r}") from error


def _check_capabilities(names: Iterable[str]) -> None:
    unknown = sorted(set(names) - NUMBER_OF.keys())
    if unknown:
        raise InvalidRequest(f"unknown capability {unknown[0]!r}", field="CapAdd")
