"""The steps of starting a container, named so that a failing one can be told from the others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from drivers.keeper.protocol import Failure


class StepFailed(Exception):
    """A step ended with an error of the kernel's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Give a name to what the kernel refuses inside the block."""
    try:
        yield
    except OSError as error:
        detail = os.fsdecode(error.filename) if error.filename else ""
        raise StepFailed(Failure("step", name, error.errno or 0, detail)) from error
