"""An image's configuration, as OCI and Docker write it.

Source: the OCI image specification, config.md. Unknown fields are kept in the raw bytes only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from drivers.errors import CorruptData


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a container of the image inherits."""

    env: list[str] | None = msgspec.field(name="Env", default=None)
    cmd: list[str] | None = msgspec.field(name="Cmd", default=None)
    entrypoint: list[str] | None = msgspec.field(name="Entrypoint", default=None)
    working_dir: str | None = msgspec.field(name="WorkingDir", default=None)
    user: str | None = msgspec.field(name="User", default=None)
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)
    stop_signal: str | None = msgspec.field(name="StopSignal", default=None)
    exposed_ports: dict[str, Any] | None = msgspec.field(name="ExposedPorts", default=None)
    volumes: dict[str, Any] | None = msgspec.field(name="Volumes", default=None)
    on_build: list[str] | None = msgspec.field(name="OnBuild", default=None)


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The layers by the digests of their uncompressed tars, lowest first."""

    type: str = "layers"
    diff_ids: list[str] = []


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration file whose digest is the image's id."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str | None = None
    author: str = ""
    comment: str = ""
    config: ContainerConfig | None = None
    rootfs: RootFs = RootFs()
    history: list[dict[str, Any]] | None = None


def decode(raw: bytes) -> ImageConfig:
    """The configuration. Raises CorruptData for bytes that are none."""
    try:
        return msgspec.json.decode(raw, type=ImageConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptData(f"image configuration: {error}") from error
