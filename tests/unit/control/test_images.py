"""Images by the Engine API: what their archives are received into."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from drivers.errors import NoSpace
from supervisor.control.docker import images


@pytest.fixture
def full() -> Iterator[BinaryIO]:
    """A file that holds what fits into its buffer."""
    with open("/dev/full", "w+b") as file:
        yield file


async def test_an_archive_for_which_there_is_no_room_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, full: BinaryIO
) -> None:
    """What could not be written is tried again when the file is closed."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"less than the buffer"

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: full)
    control: Any = SimpleNamespace(spool=tmp_path)
    with pytest.raises(NoSpace, match="receive image archive: no space left on device"):
        async with images._spooled(control, parts()):
            pass
    assert full.closed
