"""What happens, told to whoever listens: one hub, a bounded channel for each listener."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Literal

import msgspec
import trio

HISTORY = 1024  # events kept for `since`
LISTENER_BUFFER = 4096  # a listener that falls this far behind is let go


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event, in Docker's terms: a type, an action, and the object it happened to."""

    type: Literal["container", "image", "daemon", "network", "volume"]
    action: str
    id: str
    attributes: dict[str, str] = {}
    time_ns: int = 0


class EventHub:
    """Publishes to any number of listeners and never waits for one of them."""

    def __init__(self) -> None:
        self._listeners: set[trio.MemorySendChannel[Event]] = set()
        self._history: deque[Event] = deque(maxlen=HISTORY)

    def publish(
        self,
        type_: Literal["container", "image", "daemon", "network", "volume"],
        action: str,
        id_: str,
        attributes: dict[str, str] | None = None,
    ) -> None:
        """Tell every listener; one whose buffer is full is closed, so it learns of its loss."""
        event = Event(
            type=type_, action=action, id=id_, attributes=attributes or {}, time_ns=time.time_ns()
        )
        self._history.append(event)
        for listener in tuple(self._listeners):
            try:
                listener.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._listeners.discard(listener)
                listener.close()

    def history(self, *, since_ns: int) -> list[Event]:
        """Events kept that are not older than `since_ns`."""
        return [event for event in self._history if event.time_ns >= since_ns]

    @contextlib.contextmanager
    def listen(self) -> Iterator[trio.MemoryReceiveChannel[Event]]:
        """Events from now on, until the block is left."""
        send, receive = trio.open_memory_channel[Event](LISTENER_BUFFER)
        self._listeners.add(send)
        try:
            yield receive
        finally:
            self._listeners.discard(send)
            send.close()
            receive.close()
