"""Starting the keeper: from an interpreter that nobody can write to through it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

from drivers.kernel import mount as m

_PACKAGES = str(Path(__file__).resolve().parents[2])
# Its descriptor of the binary has done its work.
_START = (
    "import os, sys; os.close(int(sys.argv[3])); sys.path.insert(0, sys.argv[2]); "
    "from drivers.keeper.main import main; main()"
)


def start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the keeper at its end of the socket pair; blocking. Raises OSError."""
    binary = read_only(interpreter())
    try:
        return subprocess.Popen(
            # argv[0] is where the interpreter finds its library from
            [
                interpreter(),
                *("-I", "-S", "-B", "-X", "utf8", "-c", _START),
                str(theirs.fileno()),
                _PACKAGES,
                str(binary),
            ],
            executable=f"/proc/self/fd/{binary}",
            pass_fds=(theirs.fileno(), binary),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=_environment(),
        )
    finally:
        os.close(binary)


def interpreter() -> str:
    """The real binary of the interpreter, also in a virtual environment."""
    return os.path.realpath(sys.executable)


def _environment() -> dict[str, str]:
    """Nothing of the daemon's: it may hold secrets, and the keeper needs none of it."""
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        # a library found relative to the binary is not found from its copy
        return {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    return {}


def read_only(path: str) -> int:
    """A file as a mount has it that is read-only and attached nowhere, by an O_PATH descriptor.

    Whoever is run from it, and whoever looks at /proc/PID/exe, cannot write to the host's file;
    and once the mount has no descriptor of its own, nobody can change that.
    """
    directory, name = os.path.split(path)
    mount = m.open_tree_clone(directory)
    try:
        attributes = m.ATTR.RDONLY | m.ATTR.NOSUID | m.ATTR.NODEV
        m.mount_setattr(mount, set_=attributes, propagation=m.MS.PRIVATE)
        return os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=mount)
    finally:
        os.close(mount)
