"""Waiting for a container to end, as `docker wait` does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from supervisor.container import Container

Condition = Literal["not-running", "next-exit", "removed"]


class Wait:
    """A wait that counts from when it was made; call it to wait."""

    def __init__(self, container: Container, condition: Condition) -> None:
        self._container = container
        self._condition = condition
        self._exits = container.exits

    async def __call__(self) -> int:
        """Wait until the condition holds; the exit code."""
        container = self._container
        match self._condition:
            case "not-running":
                await container.until(lambda: not container.is_up)
            case "next-exit":
                await container.until(lambda: container.exits > self._exits or container.removed)
            case "removed":
                await container.until(lambda: container.removed)
        last = container.last_exit
        return container.record.exit_code if last is None else last.code


@contextlib.contextmanager
def waiting(container: Container, condition: Condition) -> Iterator[Wait]:
    """A wait for `condition` that misses nothing from now on."""
    yield Wait(container, condition)
