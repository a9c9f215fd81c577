"""An interpreter for attackers: this host's, with all that it needs, put into an image."""

from __future__ import annotations

import _ctypes
import subprocess
import sysconfig
from contextlib import AbstractContextManager
from pathlib import Path

from drivers.execution.base import MountAt
from drivers.keeper import launch
from tests.native import bind


def libraries(binary: str) -> list[str]:
    """What the dynamic loader needs to run a binary, itself included."""
    told = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
    return [word for word in told.split() if word.startswith("/")]


def lend_interpreter(root: Path) -> None:
    """Put all that the attacker wants for running the host's interpreter into the image."""
    binaries = (launch.interpreter(), _ctypes.__file__)  # the second needs libffi
    for library in {
        launch.interpreter(),
        *(need for binary in binaries for need in libraries(binary)),
    }:
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(library).read_bytes())
        copy.chmod(0o755)


def standard_library() -> AbstractContextManager[MountAt]:
    """Its standard library, to be mounted where it is looked for."""
    stdlib = sysconfig.get_path("stdlib")
    return bind(Path(stdlib), stdlib)
