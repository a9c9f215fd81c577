"""Asking the daemon to end, or to end and start again."""

from __future__ import annotations

import trio


class Shutdown:
    """Set once; the daemon waits for it."""

    def __init__(self) -> None:
        self._asked = trio.Event()
        self.restart = False

    @property
    def is_asked(self) -> bool:
        """Whether it has been asked for."""
        return self._asked.is_set()

    def ask(self, *, restart: bool = False) -> None:
        """Ask for the end; with `restart` the daemon executes itself again afterwards."""
        self.restart = self.restart or restart
        self._asked.set()

    async def wait(self) -> None:
        """Wait until it is asked for."""
        await self._asked.wait()
