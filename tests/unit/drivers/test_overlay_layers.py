"""As many layers as overlayfs takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from drivers.errors import InvalidRequest
from drivers.storage import overlay
from tests.layers import entry, layer


async def test_an_image_may_have_all_the_layers_there_are_and_something_beneath(
    tmp_path: Path,
) -> None:
    storage = await overlay.open_driver(tmp_path / "home", {})

    def fill() -> None:
        storage.apply_diff("places", None, layer(entry("proc")))
        for number in range(overlay.MAX_LAYERS + 1):
            parent = f"l{number - 1}" if number else None
            storage.apply_diff(f"l{number}", parent, layer(entry(f"d{number}")))

    def names(key: str, top: str) -> set[str]:
        storage.create(key, top, "places")
        fd = storage.get(key)
        try:
            return set(os.listdir(f"/proc/self/fd/{fd}"))  # which is an O_PATH one
        finally:
            os.close(fd)
            storage.put(key)

    await trio.to_thread.run_sync(fill)
    most = overlay.MAX_LAYERS - 1
    fewer = {f"d{number}" for number in range(most)}
    assert await trio.to_thread.run_sync(names, "fewer", f"l{most - 1}") == fewer | {"proc"}
    # one that has no room for what is beneath makes it itself
    assert await trio.to_thread.run_sync(names, "most", f"l{most}") == fewer | {f"d{most}"}
    with pytest.raises(InvalidRequest, match="more than 500 parents"):
        await trio.to_thread.run_sync(names, "more", f"l{most + 1}")
    storage.cleanup()
