"""Boxes of the oci driver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.native import Box
from tests.unit.drivers.execution.oci.containers import open_box


@pytest.fixture
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Box]:
    async with open_box(request.param, tmp_path) as opened:
        yield opened
