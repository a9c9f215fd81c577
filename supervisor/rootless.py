"""The daemon of an ordinary user: it moves into a user namespace, in which it is root.

Its own id is 0 there; the ids that the administrator has set aside for it follow. Sources:
user_namespaces(7), newuidmap(1), subuid(5).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import msgspec

from drivers.errors import ConfigError
from drivers.execution.hierarchy import make_room, v2_mount
from drivers.kernel import process as p
from drivers.kernel.user_namespace import in_user_namespace
from supervisor.config import DaemonConfig
from supervisor.spec import UserMap
from supervisor.subids import SUBGID, SUBUID, ranges_of
from supervisor.userns import Lines

_USER = "CRECHE_ROOTLESS_UID"  # tells a daemon that restarts itself who it was
_MAPPERS = (("newuidmap", SUBUID), ("newgidmap", SUBGID))


def is_rootless() -> bool:
    """Whether this is the daemon of an ordinary user, also after it has become root for itself."""
    return os.geteuid() != 0 or _USER in os.environ


def own_ids() -> UserMap | None:
    """The ids that the daemon of an ordinary user has: its own are first. Else None."""
    if not is_rootless():
        return None
    return UserMap(uids=_lines("uid_map"), gids=_lines("gid_map"))


def _lines(name: str) -> Lines:
    """Source: user_namespaces(7), /proc/PID/uid_map."""
    lines = Path(f"/proc/self/{name}").read_text().splitlines()
    return tuple((int(a), int(b), int(c)) for a, b, c in (line.split() for line in lines))


def with_own_places(config: DaemonConfig) -> DaemonConfig:
    """The settings, with an ordinary user's directories where root's are the default."""
    usual = DaemonConfig()
    home = Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    data = os.environ.get("XDG_DATA_HOME") or str(home / ".local/share")
    settings = os.environ.get("XDG_CONFIG_HOME") or str(home / ".config")
    uid = os.environ.get(_USER) or os.getuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    own = {
        "root": f"{data}/creche",
        "run_dir": f"{runtime}/creche",
        "units": f"{settings}/creche/containers.d",
    }
    changed = {
        name: place for name, place in own.items() if getattr(config, name) == getattr(usual, name)
    }
    return msgspec.structs.replace(config, **changed)


def try_enter() -> ConfigError | None:
    """As `enter` for who is not root; why it did not work."""
    if os.geteuid() == 0:
        return None
    try:
        enter()
    except ConfigError as error:
        return error
    return None


def enter() -> None:
    """Move this process, which has one thread, into namespaces of its own.

    Raises ConfigError that ends with what would help.
    """
    maps = [_arguments(command, path) for command, path in _MAPPERS]
    own_uid = str(os.getuid())
    told, tell = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        os.close(tell)
        os._exit(_write_maps(told, maps))
    os.close(told)
    try:
        p.unshare(p.CLONE.NEWUSER | p.CLONE.NEWNS)
        os.write(tell, b"\0")
    except OSError as error:
        raise ConfigError(
            f"rootless: no user namespace: {(error.strerror or '').lower()}: "
            "`sysctl user.max_user_namespaces` must allow them, and no policy forbid them"
        ) from error
    finally:
        os.close(tell)
        _, status = os.waitpid(helper, 0)
    if status:
        raise ConfigError(
            "rootless: newuidmap or newgidmap failed, see above: both must be setuid root"
        )
    os.environ[_USER] = own_uid
    in_user_namespace.cache_clear()
    v2 = v2_mount()
    if v2 is not None:
        with contextlib.suppress(OSError):  # then limits are not to be had, and are refused
            make_room(v2)


def _arguments(command: str, path: Path) -> list[str]:
    """The call that maps our own id and those that are ours. Raises ConfigError."""
    found = shutil.which(command)
    if found is None:
        raise ConfigError(f"rootless: {command} is not there: `apt install uidmap`")
    own = os.getuid() if path == SUBUID else os.getgid()
    name = pwd.getpwuid(os.getuid()).pw_name
    ranges = ranges_of(name, path) or ranges_of(str(os.getuid()), path)
    if not ranges:
        raise ConfigError(
            f"rootless: {name} has no ids in {path}: `usermod --add-subuids 100000-165535 "
            f"--add-subgids 100000-165535 {name}`"
        )
    arguments, first = [found, str(os.getpid()), "0", str(own), "1"], 1
    for start, count in ranges:
        arguments += [str(first), str(start), str(count)]
        first += count
    return arguments


def _write_maps(told: int, maps: list[list[str]]) -> int:
    """In the helper, which is still the host's: 0 if all is done, or nothing is to be."""
    if not os.read(told, 1):
        return 0
    return max(subprocess.run(call, check=False).returncode != 0 for call in maps)
