"""The trace of a start goes through the real steps."""

from __future__ import annotations

from pathlib import Path

from tests.bench.setup import Setup
from tests.bench.trace import trace
from tests.rootfs import make_busybox_root


def test_every_part_of_a_start_is_in_the_trace(tmp_path: Path) -> None:
    setup = Setup(directory=tmp_path, root=make_busybox_root(tmp_path / "root"), runs=1)
    steps = [figure.what for figure in trace(setup)]
    assert {"new namespaces", "pivot_root", "drop capabilities", "exec", "all steps"} <= set(steps)
