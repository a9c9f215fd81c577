"""Run a program that gets no inotify instance, as if its user had used up all: COMMAND...

Source: inotify_init(2), EMFILE; seccomp_load(3).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from drivers.kernel.seccomp import LIBRARY, Action

_NO_NEW_PRIVS = 3  # an attribute of a filter


def main() -> None:
    """Install the filter, and become the program."""
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(Action.ALLOW))
    refuse = Action.ERRNO | errno.EMFILE
    steps = [library.seccomp_attr_set(context, _NO_NEW_PRIVS, 0)]
    for name in (b"inotify_init", b"inotify_init1"):
        number = library.seccomp_syscall_resolve_name(name)
        steps.append(library.seccomp_rule_add(context, refuse, number, 0))
    steps.append(library.seccomp_load(context))
    if any(steps):
        sys.exit(f"no filter: {steps}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
