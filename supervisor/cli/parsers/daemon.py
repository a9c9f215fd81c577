"""Verbs about the daemon and the host."""

from __future__ import annotations

from supervisor.cli.parsers.base import (
    Parser,
    Verbs,
    add_filter,
    add_follow_back,
    add_json,
    add_verb,
)


def add(verbs: Verbs[Parser]) -> None:
    """Add the verbs of this family."""
    events = add_verb(verbs, "events", "daemon:events", "what happens, as it happens")
    add_follow_back(events)
    add_filter(events, "container, event, image, label, type")
    events.add_argument("--json", action="store_true", help="one JSON object a line")
    add_json(add_verb(verbs, "info", "daemon:info", "the daemon and its host"))
    doctor = add_verb(verbs, "doctor", "doctor:doctor", "what works on this host, and what not")
    add_json(doctor)
    version = add_verb(verbs, "version", "daemon:version", "versions", family="supervisor")
    add_json(version)
    add_verb(verbs, "shutdown", "daemon:shutdown", "stop all and end", family="supervisor")
    words = verbs.add_parser("complete-words", add_help=False)  # for the completions, not shown
    words.add_argument("kind", choices=("processes", "groups", "containers", "images"))
    words.set_defaults(
        handler="words:words", family="docker", failure=1, verb="complete-words", json=False
    )
