"""The directories of one control group: a single one on v2, one in every mount on v1."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from drivers.execution.cgroup_files import NO_DESCRIPTOR, read_or_empty
from drivers.execution.hierarchy import Hierarchy, fill_cpuset, hand_down
from drivers.kernel.tree import directories


class Directories:
    """Where a group is, by the names of the mounts, "" on v2."""

    def __init__(
        self, hierarchy: Hierarchy, parent: str, key: str, controllers: Iterable[str] | None
    ) -> None:
        """`controllers` are those that are needed on v1; None means every one that may."""
        self.path = f"{parent.rstrip('/')}/{key}"
        self.hierarchy = hierarchy
        self.version = hierarchy.version
        self._parent = parent
        names: Iterable[str] = hierarchy.mounts
        if hierarchy.version == 1 and controllers is not None:
            held = {hierarchy.holding(controller) for controller in controllers}
            names = [name for name in names if name in held]
        self.by_mount = {name: self._in_mount(name) for name in names}

    def _in_mount(self, name: str) -> str:
        return f"{self.hierarchy.mounts[name]}/{self.path.lstrip('/')}"

    def of(self, controller: str) -> str | None:
        """Where the files of a controller are, if the group is there."""
        name = self.hierarchy.holding(controller)
        return None if name is None else self.by_mount.get(name)

    def read(self, controller: str, file: str) -> str:
        """A file's text; "" without the controller, the file, or the group."""
        directory = self.of(controller)
        return "" if directory is None else read_or_empty(f"{directory}/{file}")

    def make(self) -> None:
        """Make all of them. Raises OSError."""
        if self.version == 2 and self._parent not in self.hierarchy.handed_down:
            self.hand_down()
        for name in self.by_mount:
            self._make_in(name)

    def hand_down(self) -> None:
        """v2: have the levels above hand their controllers down. Raises OSError."""
        hand_down(self.hierarchy, self._parent)

    def add(self, controller: str) -> str | None:
        """v1: make the group for one more controller; its directory, None if it is not needed.

        Raises OSError.
        """
        name = self.hierarchy.holding(controller)
        if name is None or name in self.by_mount:
            return None
        directory = self.by_mount[name] = self._in_mount(name)
        self._make_in(name)
        return directory

    def _make_in(self, name: str) -> None:
        directory = self.by_mount[name]
        try:
            os.mkdir(directory)
        except FileNotFoundError:  # it is the first container, or the parent was removed
            if self.version == 2:
                self.hand_down()
            else:
                os.makedirs(os.path.dirname(directory), exist_ok=True)
            os.mkdir(directory)
        if "cpuset" in name.split(","):
            fill_cpuset(str(self.hierarchy.mounts[name]), self.path)

    def remove(self) -> bool:
        """Remove them with the groups below; whether none is left."""
        return all(_remove_tree(directory) for directory in self.by_mount.values())

    def levels(self) -> Iterator[str]:
        """Every directory, and those of the groups below."""
        for top in self.by_mount.values():
            yield from _levels(top)

    def pids(self) -> set[int]:
        """Every process in the group and in those below."""
        found: set[int] = set()
        for directory in self.levels():
            found.update(int(pid) for pid in read_or_empty(f"{directory}/cgroup.procs").split())
        return found

    def count_tasks(self) -> int:
        """v1: threads in the group and in those below."""
        top = self.of("freezer") or next(iter(self.by_mount.values()), "")
        return sum(read_or_empty(f"{level}/tasks").count("\n") for level in _levels(top))


def _levels(top: str) -> Iterator[str]:
    """A group and those below it; groups that vanish meanwhile are left out.

    Raises OSError if the daemon has no descriptor left: nothing is known then.
    """

    def tell(error: OSError) -> None:
        if error.errno in NO_DESCRIPTOR:
            raise error

    return directories(top, tell)


def _remove_tree(top: str) -> bool:
    """Remove a group and those below it; whether none is left."""
    try:
        os.rmdir(top)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass  # it holds groups, or processes
    try:
        for directory in reversed(list(_levels(top))):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(directory)
    except OSError:
        return False
    return True
