"""No network but loopback."""

from __future__ import annotations

from drivers.network.base import Endpoint


class NoNetwork:
    """A fresh network namespace with loopback up, made together with the container."""

    name = "none"

    def __init__(self) -> None:
        self._keys: set[str] = set()

    async def attach(self, key: str) -> Endpoint:
        self._keys.add(key)
        return Endpoint()

    async def detach(self, key: str) -> None:
        self._keys.discard(key)

    async def list(self) -> list[str]:
        return sorted(self._keys)
