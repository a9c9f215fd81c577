"""What a container has changed, as `docker diff` tells it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from drivers.storage.base import Change, ChangeKind
from supervisor.mount_points import DIRECTORIES, FILES

# What is made for every container if its image has it not. Docker makes it in a layer of its own,
# below the container's, and so never shows it; targets of other mounts it does show.
MADE_FOR_ALL = frozenset(f"/{path}" for path in (*DIRECTORIES, *FILES))


def shown_changes(changes: Iterable[Change]) -> list[Change]:
    """The changes without what is only a place for our mounts, sorted by path.

    A directory in which something has changed counts as modified.
    """
    kinds = {
        change.path: change.kind
        for change in changes
        if change.kind is not ChangeKind.ADDED or change.path not in MADE_FOR_ALL
    }
    for path in list(kinds):
        above = posixpath.dirname(path)
        while above != "/":
            kinds.setdefault(above, ChangeKind.MODIFIED)
            above = posixpath.dirname(above)
    return sorted(Change(path, kind) for path, kind in kinds.items())
