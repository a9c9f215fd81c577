"""What every storage driver keeps in the same way: a directory for each key, made aside."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from drivers.errors import AlreadyExists, InUse, InvalidRequest, NotFound, from_os_error
from drivers.kernel.tree import remove_tree

_KEY = re.compile(r"[a-z0-9-]{1,128}")
_OVER = "parent"  # a file that holds the parent's key, and on a second line what is beneath

_LOST = "that-a-power-loss-has-cost"  # for an empty file: a key that never exists


class _Over(NamedTuple):
    """What a key was made over, by its keys; "" for nothing."""

    parent: str
    beneath: str


class Layout:
    """The directories below a driver's home; every call blocks. A leading dot is debris."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.Lock()  # of what follows, and of what there is
        self._mounted: Counter[str] = Counter()
        self._over: dict[str, _Over] = {}  # as in the files
        self._children: Counter[str] = Counter()  # by what they are made over

    def open(self) -> None:
        """Make the home, sweep what crashes left, and see who is whose child."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in self.home.iterdir():
            if entry.name.startswith("."):
                remove_tree(entry)
        self._over = {key: self._read_over(key) for key in self.keys()}
        self._children = Counter(other for over in self._over.values() for other in over)

    def path(self, key: str) -> Path:
        """The directory of a key. Raises NotFound if there is none."""
        path = self.home / _checked(key)
        if not path.is_dir():
            raise _not_found(key)
        return path

    def exists(self, key: str) -> bool:
        """Whether the key is complete."""
        return _checked(key) in self._over

    def keys(self) -> list[str]:
        """Every complete key."""
        return [entry.name for entry in self.home.iterdir() if not entry.name.startswith(".")]

    def parent(self, key: str) -> str | None:
        """The key that this one was made from. Raises NotFound."""
        return self._over_of(key).parent or None

    def _over_of(self, key: str) -> _Over:
        over = self._over.get(_checked(key))
        if over is None:
            raise _not_found(key)
        return over

    def _read_over(self, key: str) -> _Over:
        try:
            text = (self.home / key / _OVER).read_text()
        except FileNotFoundError:
            return _Over("", "")
        parent, _, beneath = (text or _LOST).partition("\n")
        return _Over(parent, beneath)

    def chain(self, key: str) -> list[str]:
        """The key, its parent, and so on down to the one that has none."""
        found: list[str] = []
        current: str | None = key
        while current is not None:
            found.append(current)
            current = self.parent(current)
        return found

    def beneath(self, key: str) -> str | None:
        """What shows where the key and its parents have nothing: the nearest of what they have."""
        found = (self._over_of(one).beneath for one in self.chain(key))
        return next(filter(None, found), None)

    @contextlib.contextmanager
    def making(self, key: str, parent: str | None, beneath: str | None = None) -> Iterator[Path]:
        """A directory to fill; it becomes the key's when the block ends, or vanishes.

        Raises AlreadyExists, NotFound for what it is made over, NoSpace.
        """
        if self.exists(key):
            raise AlreadyExists(f"layer {key} exists")
        over = _Over(parent or "", beneath or "")
        self._check_there(over)
        aside = self.home / f".{key[:64]}-{secrets.token_hex(4)}"
        try:
            aside.mkdir(mode=0o700)
            if any(over):
                (aside / _OVER).write_text("\n".join(over).rstrip())
            yield aside
            with self._lock:
                self._check_there(over)  # it may have gone meanwhile
                os.rename(aside, self.home / key)
                self._over[key] = over
                self._children.update(over)
        except OSError as error:
            _remove_if_there(aside)
            raise from_os_error(error, f"make layer {key}") from error
        except BaseException:  # cancelled too: half a layer is none
            _remove_if_there(aside)
            raise

    def remove(self, key: str) -> None:
        """Delete for good. Raises InUse for a parent of others and for what is mounted."""
        path, over = self.path(key), self._over_of(key)
        aside = self.home / f".{key[:64]}-{secrets.token_hex(4)}"
        try:
            with self._lock:
                self._check_unused(key)
                os.rename(path, aside)
                del self._over[key]
                self._children.subtract(over)
            remove_tree(aside)
        except OSError as error:
            raise from_os_error(error, f"remove layer {key}") from error

    def _check_there(self, over: _Over) -> None:
        for key in over:
            if key and not self.exists(key):
                raise _not_found(key)

    def _check_unused(self, key: str) -> None:
        if self._mounted[key]:
            raise InUse(f"layer {key} is mounted")
        if self._children[key]:
            child = next(child for child, over in self._over.items() if key in over)
            raise InUse(f"layer {key} is the parent of {child}")

    def count_mount(self, key: str) -> None:
        """One more holds a mount of the key."""
        with self._lock:
            self._mounted[key] += 1

    def count_unmount(self, key: str) -> None:
        """One fewer does."""
        with self._lock:
            self._mounted[key] -= 1
            if self._mounted[key] <= 0:
                del self._mounted[key]


def _not_found(key: str) -> NotFound:
    return NotFound(f"layer {key} does not exist")


def _remove_if_there(directory: Path) -> None:
    """What is left of it is debris, which the next start sweeps."""
    with contextlib.suppress(OSError):
        remove_tree(directory)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidRequest(f"invalid layer key {key!r}")
    return key


class LayoutStorage:
    """What drivers over a Layout have in common: all that needs no mount and no content."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def put(self, key: str) -> None:
        self._layout.count_unmount(key)

    def remove(self, key: str) -> None:
        self._layout.remove(key)

    def exists(self, key: str) -> bool:
        return self._layout.exists(key)

    def keys(self) -> list[str]:
        return self._layout.keys()

    def cleanup(self) -> None:
        pass  # nothing is held between calls
