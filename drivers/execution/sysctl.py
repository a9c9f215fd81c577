"""Kernel parameters by name and by file. Source: sysctl(8), proc_sys(5)."""

from __future__ import annotations

from drivers.errors import InvalidRequest

_SWAP = str.maketrans("./", "/.")
_UNSAFE = frozenset({"", ".", ".."})


def path_of(name: str) -> str:
    """The file of "net.ipv4.ip_forward" below /proc/sys; a slash in a part stands for a dot.

    Raises InvalidRequest for a name that would lead elsewhere.
    """
    path = name.translate(_SWAP)
    if "\0" in path or not _UNSAFE.isdisjoint(path.split("/")):
        raise InvalidRequest(f"invalid sysctl {name!r}", field="Sysctls")
    return path
