"""Keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.errors import InvalidRequest
from drivers.log.base import Batch, LogContext


class NoLog:
    """Drops every batch. Costs nothing; `logs` has nothing to show."""

    name = "none"

    def open(self) -> None:
        pass

    async def log(self, batch: Batch) -> None:
        pass

    async def close(self) -> None:
        pass


def validate(options: Mapping[str, str]) -> None:
    """Raise InvalidRequest for any option: there are none."""
    for option in options:
        raise InvalidRequest(f"unknown log opt '{option}' for none log driver")


async def open_driver(context: LogContext, options: Mapping[str, str]) -> NoLog:
    """The driver."""
    validate(options)
    return NoLog()
