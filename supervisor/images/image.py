"""One image: its configuration, and its layers by the keys that storage has them under."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from supervisor.images.archive import digest_of
from supervisor.images.config import ContainerConfig, ImageConfig


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is complete on this host."""

    id: str  # sha256:...
    parsed: ImageConfig
    raw: bytes
    layer_bytes: tuple[int, ...]  # of each layer alone, lowest first
    names: tuple[str, ...] = ()  # "busybox:latest", sorted

    @property
    def size_bytes(self) -> int:
        """Of all layers."""
        return sum(self.layer_bytes)

    @property
    def config(self) -> ContainerConfig:
        """What containers inherit."""
        return self.parsed.config or ContainerConfig()

    @property
    def layers(self) -> tuple[str, ...]:
        """The storage keys of its layers, lowest first."""
        return tuple(chain_ids(self.parsed.rootfs.diff_ids))

    @property
    def top_layer(self) -> str | None:
        """The storage key that a container's own layer is made over."""
        return self.layers[-1] if self.layers else None


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """The chain ids, without algorithm. Source: the OCI image specification, config.md."""
    chain = ""
    found: list[str] = []
    for diff_id in diff_ids:
        chain = digest_of(f"{chain} {diff_id}".encode()) if chain else diff_id
        found.append(chain.removeprefix("sha256:"))
    return found


def new_config(diff_id: str, message: str, config: ContainerConfig) -> bytes:
    """The configuration of an image of one layer that is made here and now."""
    created = datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    content: dict[str, Any] = {
        "architecture": machine,
        "os": "linux",
        "created": created,
        "comment": message,
        "config": msgspec.to_builtins(config),
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": message}],
    }
    return msgspec.json.encode(content)
