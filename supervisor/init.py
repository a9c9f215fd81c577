"""--init: a process that reaps, in front of the command. A static one of the host is lent."""

from __future__ import annotations

import os
import shutil
import struct
import sys

from drivers.errors import Unsupported

TARGET = "/sbin/docker-init"  # where Docker has it
_NAMES = ("docker-init", "tini-static", "tini", "catatonit")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec/podman"
_PT_INTERP = 3
# e_phoff, e_phentsize and e_phnum of a 64-bit ELF header. Source: elf(5).
_PROGRAM_HEADERS = struct.Struct("=32xQ14xHH6x")


def init_argv(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command with the reaping process in front."""
    return (TARGET, "--", *argv)


def find_init() -> str:
    """The path of the host's program; blocking. Raises Unsupported naming the package."""
    for name in _NAMES:
        path = shutil.which(name, path=_PATH)
        if path is not None and is_static(path):
            return path
    raise Unsupported(
        f"--init: none of {', '.join(_NAMES)} is there as a static program: install the package "
        "tini"
    )


def is_static(path: str) -> bool:
    """Whether a program needs no loader, which an image might not have. Source: elf(5).

    False for what is no 64-bit program.
    """
    try:
        with open(path, "rb") as file:
            header = file.read(_PROGRAM_HEADERS.size)
            if header[:5] != b"\x7fELF\x02" or len(header) < _PROGRAM_HEADERS.size:
                return False
            offset, size, count = _PROGRAM_HEADERS.unpack(header)
            table = os.pread(file.fileno(), size * count, offset)
    except OSError:
        return False
    starts = range(0, len(table), size or 1)
    kinds = {int.from_bytes(table[at : at + 4], sys.byteorder) for at in starts}
    return bool(kinds) and _PT_INTERP not in kinds
