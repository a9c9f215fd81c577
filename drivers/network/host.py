"""The host's own network."""

from __future__ import annotations

from drivers.network.base import Endpoint


class HostNetwork:
    """Shares the host's network namespace. Costs nothing; isolates nothing."""

    name = "host"

    def __init__(self) -> None:
        self._keys: set[str] = set()

    async def attach(self, key: str) -> Endpoint:
        self._keys.add(key)
        return Endpoint(host=True)

    async def detach(self, key: str) -> None:
        self._keys.discard(key)

    async def list(self) -> list[str]:
        return sorted(self._keys)
