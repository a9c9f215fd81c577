"""Starting the keeper: from a copy of the interpreter that nobody can change."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_PACKAGES = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, sys.argv[2]); from drivers.keeper.main import main; main()"


def start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the keeper at its end of the socket pair; blocking. Raises OSError."""
    memfd = _sealed_copy(interpreter())
    return subprocess.Popen(
        # argv[0] is where the interpreter finds its library from
        [
            interpreter(),
            *("-I", "-S", "-B", "-X", "utf8", "-c", _START),
            str(theirs.fileno()),
            _PACKAGES,
        ],
        executable=f"/proc/self/fd/{memfd}",
        pass_fds=(theirs.fileno(), memfd),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )


def interpreter() -> str:
    """The real binary of the interpreter, also in a virtual environment."""
    return os.path.realpath(sys.executable)


def _environment() -> dict[str, str]:
    """Nothing of the daemon's: it may hold secrets, and the keeper needs none of it."""
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        # a library found relative to the binary is not found from its copy
        return {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    return {}


@cache
def _sealed_copy(path: str) -> int:
    """A copy of a file in memory that nobody can write to any more: one for all keepers.

    Whoever is run from it, and whoever looks at /proc/PID/exe, never reaches the host's binary.
    """
    memfd = os.memfd_create("creche-python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(path, "rb") as source, open(memfd, "wb", closefd=False) as copy:
            shutil.copyfileobj(source, copy)
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(memfd)
        raise
    return memfd
