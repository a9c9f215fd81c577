"""Mounts as Docker's options write them: -v, --mount and --tmpfs."""

from __future__ import annotations

import posixpath
import re

from drivers.errors import InvalidRequest, NotImplementedYet
from supervisor.control.docker.body import BindOptions, HostConfig, MountBody
from supervisor.spec import Bind, Tmpfs

# What -v may say after the second colon and means nothing else here: there is no SELinux label to
# set, and what is mounted is private already.
_HARMLESS = frozenset({"rw", "z", "Z", "private", "rprivate", "consistent", "cached", "delegated"})
_PROPAGATIONS = frozenset({"shared", "rshared", "slave", "rslave"})


def mounts_of(host: HostConfig) -> tuple[Bind | Tmpfs, ...]:
    """Every mount that is asked for.

    Raises InvalidRequest naming what is wrong, NotImplementedYet.
    """
    mounts: list[Bind | Tmpfs] = [_bind(text) for text in host.binds or ()]
    mounts += [_mount(mount) for mount in host.mounts or ()]
    mounts += [_tmpfs(target, options) for target, options in (host.tmpfs or {}).items()]
    targets: set[str] = set()
    for mount in mounts:
        if not mount.target.startswith("/"):
            raise InvalidRequest(
                f"invalid mount path: '{mount.target}' mount path must be absolute", field="Target"
            )
        if posixpath.normpath(mount.target) == "/":
            raise InvalidRequest("invalid specification: destination can't be '/'", field="Target")
        if posixpath.normpath(mount.target) in targets:
            raise InvalidRequest(f"Duplicate mount point: {mount.target}", field="Target")
        targets.add(posixpath.normpath(mount.target))
    return tuple(mounts)


def _bind(text: str) -> Bind:
    """-v SOURCE:TARGET[:OPTIONS]"""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts[:2]):
        raise InvalidRequest(f"invalid volume specification: '{text}'", field="Binds")
    source, target, options = (*parts, "")[:3]
    if not source.startswith("/"):
        raise NotImplementedYet(
            f"a named volume ({source}) is not implemented yet: give the path of a directory"
        )
    read_only = False
    for option in filter(None, options.split(",")):
        if option in _PROPAGATIONS:
            raise _no_propagation(option)
        if option != "ro" and option not in _HARMLESS:
            raise InvalidRequest(f"invalid mode: {option}", field="Binds")
        read_only = read_only or option == "ro"
    return Bind(source=source, target=target, read_only=read_only, make_source=True)


def _no_propagation(name: str) -> NotImplementedYet:
    return NotImplementedYet(f"mount propagation ({name}) is not implemented yet")


def _mount(mount: MountBody) -> Bind | Tmpfs:
    """--mount type=..."""
    match mount.type:
        case "bind":
            if not mount.source.startswith("/"):
                raise InvalidRequest(
                    f'invalid mount config for type "bind": invalid mount path: '
                    f"'{mount.source}' mount path must be absolute",
                    field="Mounts",
                )
            options = mount.bind_options or BindOptions()
            if options.propagation not in ("", "private", "rprivate"):
                raise _no_propagation(options.propagation)
            return Bind(
                source=mount.source,
                target=mount.target,
                read_only=mount.read_only,
                recursive=not options.non_recursive,
                make_source=options.create_mountpoint,
            )
        case "tmpfs":
            size = mount.tmpfs_options.size_bytes if mount.tmpfs_options else 0
            mode = mount.tmpfs_options.mode if mount.tmpfs_options else 0
            return Tmpfs(
                target=mount.target,
                size_bytes=size or None,
                mode=mode or 0o1777,
                read_only=mount.read_only,
            )
        case "volume" | "npipe" | "cluster" | "image":
            raise NotImplementedYet(f"--mount type={mount.type} is not implemented yet")
    raise InvalidRequest(f"mount type unknown: {mount.type!r}", field="Mounts")


_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_MODE = re.compile(r"[0-7]{1,5}")


def _tmpfs(target: str, options: str) -> Tmpfs:
    """--tmpfs TARGET[:OPTIONS]; options as mount(8) has them."""
    size_bytes: int | None = None
    mode, read_only, executable = 0o1777, False, False
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name == "size" and (found := _SIZE.fullmatch(value)):
            size_bytes = int(found[1]) * _UNITS[found[2].lower()]
        elif name == "mode" and _MODE.fullmatch(value):
            mode = int(value, 8)
        elif option in ("ro", "rw"):
            read_only = option == "ro"
        elif option in ("exec", "noexec"):
            executable = option == "exec"
        elif option not in ("nosuid", "nodev"):
            raise InvalidRequest(f"invalid tmpfs option {option!r}", field="Tmpfs")
    return Tmpfs(
        target=target, size_bytes=size_bytes, mode=mode, read_only=read_only, exec=executable
    )
