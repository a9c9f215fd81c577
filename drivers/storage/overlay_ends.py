"""Letting go of overlay mounts: a moment after their use, many at a time.

Who lets go of an overlay last waits until the kernel has written the whole file system below to
its disk. That is to be no container's end, and for many that end together it is needed once.
Source: the kernel's overlayfs.rst, "Volatile mount": only such mounts are spared.
"""

from __future__ import annotations

import contextlib
import os
import threading

LINGER_S = 0.1
MOST = 64  # mounts that wait


class OverlayEnds:
    """The one thread that closes descriptors of mounts. Other threads may call at any time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, list[int]] = {}  # by the key of the layer
        self._closing: dict[str, list[int]] = {}
        self._is_over = False
        self._thread = threading.Thread(target=self._work, name="overlay-end", daemon=True)
        self._thread.start()  # now, while there are threads: never another

    def let_go(self, key: str, fd: int) -> None:
        """Close a descriptor of a layer's mount, soon."""
        with self._changed:
            self._waiting.setdefault(key, []).append(fd)
            if len(self._waiting) in (1, MOST):
                self._changed.notify_all()

    def finish(self, key: str) -> None:
        """Return when no mount of the layer is held here any more; blocks."""
        with self._changed:
            fds = self._waiting.pop(key, [])
            self._changed.wait_for(lambda: key not in self._closing)
        _close(fds)

    def close(self) -> None:
        """Let go of all, and end; blocks."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_over)
                self._changed.wait_for(self._is_enough, LINGER_S)
                self._closing, self._waiting = self._waiting, {}
                if self._is_over and not self._closing:
                    return
            for fds in self._closing.values():
                _close(fds)
            with self._changed:
                self._closing = {}
                self._changed.notify_all()

    def _is_enough(self) -> bool:
        return self._is_over or len(self._waiting) >= MOST


def _close(fds: list[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):  # of the disk's; it is closed. Source: close(2)
            os.close(fd)
