"""What several programs do in the same way: file systems, mounts, and paths below a root."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from drivers.kernel import mount as m
from drivers.kernel.calls import Call
from drivers.kernel.path import IN_ROOT, OPEN_HOW_BYTES, RESOLVE, open_how
from drivers.kernel.program import Argument, Label, Program, Result

NO_LINKS = RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS
DIRECTORY = os.O_PATH | os.O_DIRECTORY
NO_FILES = m.ATTR.NOSUID | m.ATTR.NODEV | m.ATTR.NOEXEC
NO_FILES_READ_ONLY = NO_FILES | m.ATTR.RDONLY

_CLONE = m.OPEN_TREE_CLONE | m.OPEN_TREE_CLOEXEC
_MOVE = m.MOVE_MOUNT_F_EMPTY_PATH


def file_system(
    program: Program, fstype: str, attributes: int, options: Mapping[str, str] | None = None
) -> Result:
    """A detached mount of a new file system; an option without a value is a flag."""
    context = program.call(Call.FSOPEN, fstype.encode(), m.FSOPEN_CLOEXEC)
    # what `mount` shows first
    _configure(program, context, m.FSCONFIG_SET_STRING, b"source", fstype.encode())
    for key, value in (options or {}).items():
        kind = m.FSCONFIG_SET_STRING if value else m.FSCONFIG_SET_FLAG
        _configure(program, context, kind, key.encode(), value.encode() if value else 0)
    _configure(program, context, m.FSCONFIG_CMD_CREATE, 0, 0)
    return program.call(Call.FSMOUNT, context, m.FSMOUNT_CLOEXEC, attributes)


def _configure(
    program: Program, context: Result, command: int, key: Argument, value: Argument
) -> None:
    program.call(Call.FSCONFIG, context, command, key, value, 0)


def attach(
    program: Program,
    mount: Argument,
    place: Argument,
    name: str = "",
    *,
    then: Label | None = None,
    unless: int = 0,
    otherwise: Label | None = None,
) -> None:
    """Attach a detached mount at the descriptor `place`, or at the name below it."""
    flags = _MOVE if name else _MOVE | m.MOVE_MOUNT_T_EMPTY_PATH
    program.call(
        Call.MOVE_MOUNT, mount, b"", place, name.encode(), flags,
        then=then, unless=unless, otherwise=otherwise,
    )  # fmt: skip


def clone_mount(
    program: Program,
    at: Argument,
    name: str = "",
    *,
    recursive: bool = False,
    unless: int = 0,
    otherwise: Label | None = None,
) -> Result:
    """A detached copy of the mount at the descriptor `at`, or of what has a name below it."""
    flags = _CLONE | (0 if name else m.AT_EMPTY_PATH) | (m.AT_RECURSIVE if recursive else 0)
    return program.call(
        Call.OPEN_TREE, at, name.encode(), flags, unless=unless, otherwise=otherwise
    )


def set_attributes(
    program: Program,
    mount: Argument,
    *,
    set_: m.ATTR = m.ATTR(0),
    clear: m.ATTR = m.ATTR(0),
    propagation: m.MS = m.MS(0),
    recursive: bool = False,
) -> None:
    """Change the attributes of a mount."""
    flags = m.AT_EMPTY_PATH | (m.AT_RECURSIVE if recursive else 0)
    attr = m.mount_attr(set_=set_, clear=clear, propagation=propagation)
    program.call(Call.MOUNT_SETATTR, mount, b"", flags, attr, m.MOUNT_ATTR_BYTES)


def open_in(
    program: Program,
    root: Argument,
    path: str,
    flags: int,
    *,
    mode: int = 0,
    resolve: RESOLVE = IN_ROOT,
    unless: int = 0,
    then: Label | None = None,
    otherwise: Label | None = None,
) -> Result:
    """Open a path with `root` as the root directory."""
    return program.call(
        Call.OPENAT2,
        root,
        os.fsencode(path) or b".",
        open_how(flags, mode=mode, resolve=resolve),
        OPEN_HOW_BYTES,
        detail=path,
        unless=unless,
        then=then,
        otherwise=otherwise,
    )


def directory(
    program: Program, root: Argument, path: str, *, resolve: RESOLVE = IN_ROOT, mode: int = 0o755
) -> Result:
    """A directory below `root`, made with its parents where missing; by an O_PATH descriptor.

    Fails with ENOTDIR if a part is a file, ELOOP for a link that `resolve` forbids.
    """
    found, missing = Label(), Label()
    open_in(
        program, root, path, DIRECTORY, resolve=resolve,
        then=found, unless=errno.ENOENT, otherwise=missing,
    )  # fmt: skip
    program.place(missing)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for count, name in enumerate(parts):
        above = open_in(program, root, "/".join(parts[:count]), DIRECTORY, resolve=resolve)
        # another maker was first, or a dangling link: the last look tells
        program.call(Call.MKDIRAT, above, os.fsencode(name), mode, unless=errno.EEXIST)
    program.place(found)
    return open_in(program, root, path, DIRECTORY, resolve=resolve)


def file(program: Program, root: Argument, path: str, *, mode: int = 0o644) -> Result:
    """A file below `root`, made empty with its directories where missing; by O_PATH."""
    found, missing = Label(), Label()
    open_in(program, root, path, os.O_PATH, then=found, unless=errno.ENOENT, otherwise=missing)
    program.place(missing)
    directory(program, root, path.rstrip("/").rpartition("/")[0])
    made = open_in(program, root, path, os.O_WRONLY | os.O_CREAT, mode=mode)
    program.call(Call.CLOSE, made)  # else the root could not be made read-only
    program.place(found)
    return open_in(program, root, path, os.O_PATH)
