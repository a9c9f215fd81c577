"""From a command to the keeper's plan: names become numbers, and nonsense is refused."""

from __future__ import annotations

import base64
import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import replace

from drivers.errors import DriverError, InvalidRequest, SpawnFailed
from drivers.execution.base import Command, Device, IdMap, Namespaces, Pipes, Process
from drivers.execution.cgroup import ControlGroup
from drivers.execution.checks import RLIMITS, check_command, check_process
from drivers.execution.defaults import ALL_CAPABILITIES, MASKED_OF_HOST
from drivers.execution.hierarchy import v2_flags
from drivers.execution.id_map import check_ids, check_mapped, explain, map_text, root_of, to_host
from drivers.execution.seccomp import filter_of
from drivers.execution.sysctl import path_of
from drivers.execution.terminal import TTY_GID
from drivers.execution.user import Identity, look_up
from drivers.keeper.plan import ContainerPlan, JoiningPlan, PlannedDevice, Words
from drivers.kernel.capabilities import NUMBER_OF
from drivers.kernel.process import CLONE
from drivers.kernel.user_namespace import in_user_namespace

_AT_CLONE = {
    "pid": CLONE.NEWPID,
    "ipc": CLONE.NEWIPC,
    "uts": CLONE.NEWUTS,
    "network": CLONE.NEWNET,
}
# What a further process has in common with the first; it is born in the pid namespace.
_JOINED = CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNET | CLONE.NEWCGROUP
_RLIMIT_STEP = "set rlimit "


def make_plan(command: Command, pipes: Pipes, group: ControlGroup) -> tuple[ContainerPlan, Words]:
    """What the process is to do; blocking, for it reads the image's files.

    Raises InvalidRequest for what no container can be.
    """
    check_command(command)
    _check_targets(command)
    identity = look_up(command.root_fd, command.user, command.group_add)
    env = _with_home(command.env, identity)
    ns = command.namespaces
    id_map = command.id_map
    if id_map is not None:
        check_mapped(id_map, identity.uid, identity.groups)
    joins_user = isinstance(ns.user, int)
    lends_sys = ns.network == "host" and in_user_namespace()
    plan = ContainerPlan(
        search=search_path(command.argv[0], env),
        own_streams=own_streams(pipes, has_terminal=command.terminal is not None),
        cwd=command.cwd or "/",
        uid=identity.uid,
        gid=identity.gid,
        groups=list(identity.groups),
        domainname=command.domainname,
        new_namespaces=new_namespaces(ns) | (CLONE.NEWUSER if id_map and not joins_user else 0),
        tty_gid=tty_gid(id_map),
        bare_dev=id_map is None and in_user_namespace(),
        lent_proc=ns.pid == "host" and in_user_namespace(),
        lent_sys=lends_sys,
        new_cgroup_namespace=ns.cgroup == "new",
        joined_namespaces=[int(flag) for flag, _ in joined_namespaces(ns)],
        mount_targets=[(mount.target, _is_directory(mount.fd)) for mount in command.mounts],
        terminal=command.terminal is not None,
        read_only=command.read_only,
        shm_size_bytes=command.shm_size_bytes,
        writable_sys=command.writable_sys,
        capabilities=_numbers(command.capabilities),
        no_new_privs=command.no_new_privs,
        apparmor=command.apparmor,
        filter_text=_filter_text(command),
        sysctls=[(path_of(name), value) for name, value in command.sysctls],
        # those of a user namespace are in the /dev that it is given
        devices=[] if id_map else [_device(device) for device in command.devices],
        masked_paths=[*command.masked_paths, *(MASKED_OF_HOST if lends_sys else ())],
        readonly_paths=list(command.readonly_paths),
        rlimits=_rlimits(command),
        oom_score_adj=None if id_map and not joins_user else command.oom_score_adj,
        cgroup_flags=list(v2_flags()) if ns.cgroup == "host" else [],
        cgroup_version=group.version,
        cgroup_hierarchies=group.hierarchies,
    )
    words = Words(argv=list(command.argv), env=env, hostname=command.hostname)
    if id_map is None or joins_user:
        return plan, words
    return plan, _with_maps(words, command, id_map)


def _with_maps(words: Words, command: Command, id_map: IdMap) -> Words:
    """What the process cannot do by itself, being no user of the host."""
    check_ids(id_map)
    root_of(id_map)
    return replace(
        words,
        uid_map=map_text(id_map.uids),
        gid_map=map_text(id_map.gids),
        oom_score_adj=command.oom_score_adj,
    )


def tty_gid(id_map: IdMap | None) -> int | None:
    """The group of terminals by its number in the container, if there is such a group."""
    known = id_map is None or to_host(id_map.gids, TTY_GID) is not None
    return TTY_GID if known else None


def make_joining_plan(
    process: Process,
    command: Command,
    root_fd: int,
    pipes: Pipes,
    group: ControlGroup,
    is_watched: bool,
) -> tuple[JoiningPlan, Words]:
    """What one more process in the container of `command`, whose root is `root_fd`, is to do.

    `is_watched`: somebody may look into it from its beginning.
    """
    check_process(process)
    identity = look_up(root_fd, process.user, process.group_add)
    env = _with_home(process.env, identity)
    capabilities = ALL_CAPABILITIES if process.privileged else command.capabilities
    if command.id_map is not None:
        check_mapped(command.id_map, identity.uid, identity.groups)
    plan = JoiningPlan(
        search=search_path(process.argv[0], env),
        own_streams=own_streams(pipes, has_terminal=process.terminal is not None),
        cwd=process.cwd or "/",
        uid=identity.uid,
        gid=identity.gid,
        groups=list(identity.groups),
        capabilities=_numbers(capabilities),
        no_new_privs=process.no_new_privs or command.no_new_privs,
        apparmor=command.apparmor,
        filter_text=_filter_text(command),
        rlimits=_rlimits(command),
        terminal=process.terminal is not None,
        cgroup_version=group.version,
        cgroup_hierarchies=group.hierarchies,
        namespaces=int(_JOINED | (CLONE.NEWUSER if command.id_map else 0)),
        is_watched=is_watched,
    )
    return plan, Words(argv=list(process.argv), env=env)


def _with_home(env: Iterable[str], identity: Identity) -> list[str]:
    env = list(env)
    if not any(item.startswith("HOME=") for item in env):
        env.append(f"HOME={identity.home}")
    return env


def search_path(name: str, env: list[str]) -> list[str]:
    """The directories in which a command is looked for; none for one with a path."""
    if "/" in name or not name:
        return []
    path = next((item[5:] for item in reversed(env) if item.startswith("PATH=")), "")
    return [directory or "." for directory in path.split(":")]


def own_streams(pipes: Pipes, *, has_terminal: bool) -> list[bool]:
    """Which streams are pipes or a terminal, rather than devices of the host's."""
    if has_terminal:
        return [True, True, True]
    return [stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in (pipes.stdin, pipes.stdout, pipes.stderr)]


def new_namespaces(namespaces: Namespaces) -> int:
    """The flags of clone3(2) for what is made together with the process."""
    flags = CLONE.NEWNS
    for kind, flag in _AT_CLONE.items():
        if getattr(namespaces, kind) == "new":
            flags |= flag
    return int(flags)


def joined_namespaces(namespaces: Namespaces) -> list[tuple[CLONE, int]]:
    """The flag and the descriptor of each namespace that is joined; a user namespace is first."""
    flags = {"user": CLONE.NEWUSER, **_AT_CLONE, "cgroup": CLONE.NEWCGROUP}
    pairs = [(flag, getattr(namespaces, kind)) for kind, flag in flags.items()]
    return [(flag, value) for flag, value in pairs if isinstance(value, int)]


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _device(device: Device) -> PlannedDevice:
    kind = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}[device.kind]
    return PlannedDevice(
        device.path, kind | device.mode, device.major, device.minor, device.uid, device.gid
    )


def explain_limit(error: SpawnFailed) -> str | None:
    """Which limit could not be set, by its name, and what it would take; None for other steps."""
    if error.step.startswith(_RLIMIT_STEP):
        number = int(error.step.removeprefix(_RLIMIT_STEP))
        name = next(name for name, known in RLIMITS.items() if known == number)
        what = f"ulimit {name}"
    elif error.step == "set oom_score_adj":
        what = "oom_score_adj"
    else:
        return None
    cause = os.strerror(error.errno).lower()
    most = ", and fs.nr_open is the most" if what == "ulimit nofile" else ""
    return f"{what} cannot be set: {cause} (raising it needs CAP_SYS_RESOURCE{most})"


def explain_ids(error: SpawnFailed) -> DriverError | None:
    """Why there is no user namespace with the ids asked for; None for other steps."""
    if error.step == "clone3":
        return explain(error.errno, "")
    return explain(error.errno, f"{error.detail!r}") if error.step == "set id maps" else None


def _check_targets(command: Command) -> None:
    """Refuse what would be hidden by /proc, which is mounted last."""
    for mount in command.mounts:
        if posixpath.normpath(mount.target).lstrip("/").split("/")[0] == "proc":
            raise InvalidRequest(f"invalid mount target {mount.target!r}: inside /proc")


def _numbers(capabilities: Iterable[str]) -> list[int]:
    return sorted(NUMBER_OF[name] for name in capabilities)


def _rlimits(command: Command) -> list[tuple[int, int, int]]:
    return [(RLIMITS[limit.name], limit.soft, limit.hard) for limit in command.rlimits]


def _filter_text(command: Command) -> str:
    return base64.b64encode(filter_of(command.seccomp, command.capabilities) or b"").decode()
