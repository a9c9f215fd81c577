"""The table `limits` of a unit file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drivers.errors import InvalidRequest
from supervisor.limits import check_values
from supervisor.spec import BlockRate, BlockWeight, ResourceLimits
from supervisor.unit_tables import LimitsTable

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZES = ("memory", "memory_swap", "memory_reservation")
_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
_UNLIMITED = -1  # of memory_swap
# What `check_values` names otherwise than the table does.
_KEYS = {"cpu_period": "cpu_period_usec", "cpu_quota": "cpu_quota_usec"}


def parse_bytes(value: int | str) -> int:
    """A size: a number of bytes, or "512MiB"; units are powers of 1024 as Docker has them.

    Raises InvalidRequest.
    """
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise InvalidRequest(f'{value!r} is not a size like "512MiB"')
    return int(float(found[1]) * _UNITS[found[2].lower()])


def limits_of(table: LimitsTable) -> ResourceLimits:
    """The limits of a unit. Raises InvalidRequest with the table's key as its field."""
    fields: dict[str, Any] = {name: getattr(table, name) for name in table.__struct_fields__}
    for name in _SIZES:
        value = fields.pop(name)
        fields[f"{name}_bytes"] = None if value is None else _size(name, value)
    cpus = fields.pop("cpus")
    if cpus is not None and cpus < 0:
        raise InvalidRequest("cannot be negative", field="cpus")
    fields["nano_cpus"] = None if cpus is None else int(cpus * 1_000_000_000)
    fields["blkio_weight_device"] = tuple(
        BlockWeight(path=path, weight=weight) for path, weight in table.blkio_weight_device.items()
    )
    for name in _RATES:
        fields[name] = _rates(name, fields[name])
    limits = ResourceLimits(**fields)
    try:
        check_values(limits)
    except InvalidRequest as error:
        field = error.field or ""
        raise InvalidRequest(str(error), field=_KEYS.get(field, field)) from error
    return limits


def _size(name: str, value: int | str) -> int:
    if name == "memory_swap" and value == _UNLIMITED:
        return _UNLIMITED
    try:
        return parse_bytes(value)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), field=name) from error


def _rates(name: str, rates: Mapping[str, int | str]) -> tuple[BlockRate, ...]:
    return tuple(BlockRate(path=path, rate=_size(name, rate)) for path, rate in rates.items())
