"""From a command to the keeper's plan: names become numbers, and nonsense is refused."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from drivers.errors import InvalidRequest, SpawnFailed
from drivers.execution.base import Command, Pipes
from drivers.execution.cgroup import ControlGroup
from drivers.execution.user import look_up
from drivers.keeper.protocol import Plan
from drivers.kernel.capabilities import NUMBER_OF

_RLIMITS: dict[str, int] = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
_RLIMIT_STEP = "set rlimit "


def make_plan(command: Command, pipes: Pipes, group: ControlGroup) -> Plan:
    """What the child is to do; blocking, for it reads the image's files.

    Raises InvalidRequest for what no container can be.
    """
    _check(command)
    identity = look_up(command.root_fd, command.user, command.group_add)
    env = list(command.env)
    if not any(item.startswith("HOME=") for item in env):
        env.append(f"HOME={identity.home}")
    return Plan(
        argv=list(command.argv),
        env=env,
        cwd=command.cwd or "/",
        uid=identity.uid,
        gid=identity.gid,
        groups=list(identity.groups),
        hostname=command.hostname,
        domainname=command.domainname,
        mount_targets=[mount.target for mount in command.mounts],
        read_only=command.read_only,
        host_network=command.namespaces.network == "host",
        joins_network=isinstance(command.namespaces.network, int),
        shm_size_bytes=command.shm_size_bytes,
        capabilities=sorted(_numbers(command.capabilities)),
        no_new_privs=command.no_new_privs,
        masked_paths=list(command.masked_paths),
        readonly_paths=list(command.readonly_paths),
        rlimits=[(_rlimit(limit.name), limit.soft, limit.hard) for limit in command.rlimits],
        oom_score_adj=command.oom_score_adj,
        cgroup_version=group.version,
        cgroup_hierarchies=group.hierarchies,
        kept_pipes=len(pipes.kept),
    )


def explain_limit(error: SpawnFailed) -> str | None:
    """Which limit could not be set, by its name, and what it would take; None for other steps."""
    if error.step.startswith(_RLIMIT_STEP):
        number = int(error.step.removeprefix(_RLIMIT_STEP))
        name = next(name for name, known in _RLIMITS.items() if known == number)
        what = f"ulimit {name}"
    elif error.step == "set oom_score_adj":
        what = "oom_score_adj"
    else:
        return None
    cause = os.strerror(error.errno).lower()
    return f"{what} cannot be set: {cause} (raising it needs CAP_SYS_RESOURCE)"


def _check(command: Command) -> None:
    """Refuse what cannot be passed to the kernel."""
    if not command.argv:
        raise InvalidRequest("no command specified", field="Cmd")
    targets = [mount.target for mount in command.mounts]
    for target in targets:
        if not target.startswith("/") or target.strip("/") == "":
            raise InvalidRequest(f"invalid mount target {target!r}: not below /")
    for item in command.env:
        if "=" not in item[1:]:
            raise InvalidRequest(f"invalid environment variable: {item!r}", field="Env")
    names = (command.cwd, command.hostname, command.domainname)
    for text in (*command.argv, *command.env, *names, *targets):
        if "\0" in text:
            raise InvalidRequest(f"a NUL character in {text!r}")
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"no text: {text!r}") from error


def _numbers(capabilities: Iterable[str]) -> set[int]:
    unknown = sorted(set(capabilities) - NUMBER_OF.keys())
    if unknown:
        raise InvalidRequest(f"unknown capability {unknown[0]!r}", field="CapAdd")
    return {NUMBER_OF[name] for name in capabilities}


def _rlimit(name: str) -> int:
    if name not in _RLIMITS:
        raise InvalidRequest(f"invalid ulimit type: {name}", field="Ulimits")
    return _RLIMITS[name]
