"""What the filters of a prune spare."""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.control.docker.values import has_labels, parse_until

PRUNE_FILTERS = frozenset({"label", "label!", "until"})


def may_go(labels: Mapping[str, str], created_ns: int, filters: Mapping[str, list[str]]) -> bool:
    """Whether the filters let something of these labels and this age be removed.

    Raises InvalidRequest for a time that is none.
    """
    unwanted = filters.get("label!", [])
    if not has_labels(labels, filters.get("label", [])) or any(
        has_labels(labels, [one]) for one in unwanted
    ):
        return False
    return all(created_ns < parse_until(text) for text in filters.get("until", ()))
