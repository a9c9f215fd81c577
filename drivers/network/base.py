"""The contract of network drivers: which network a container sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's place in a network.

    `host` is the host's own network namespace; otherwise `netns_fd` is the namespace to join, and
    None a fresh one with only loopback.
    """

    host: bool = False
    netns_fd: int | None = None


class NetworkDriver(Protocol):
    """Gives containers their network namespace; each `attach` is paired with one `detach`."""

    name: str

    async def attach(self, key: str) -> Endpoint:
        """The endpoint for the container `key`, ready before its command runs."""
        ...

    async def detach(self, key: str) -> None:
        """Release what `attach` took. Idempotent."""
        ...

    async def list(self) -> list[str]:
        """Keys that are attached now."""
        ...
