"""Names and ids of containers."""

from __future__ import annotations

import re
import secrets

from drivers.errors import InvalidRequest

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

_QUALITIES = """
agile amber brave bright calm candid clever cosy crisp deft eager early fair fleet fresh
gentle glad hardy jolly keen kind lively lucid mellow merry neat nimble plucky proud quick
quiet ready rosy rustic sage shiny silent smart snug spry steady sunny swift tidy tiny vivid
warm witty young zesty
"""
_CHILDREN = """
badger beaver bunny calf chick colt crane cub cygnet deer duckling eaglet elver fawn ferret
finch foal fox gosling hare heron ibex jackdaw joey kid kit kitten lamb lark leveret linnet
lynx marten mole moth newt otter owlet piglet polliwog puffin pup raven robin seal sparrow
squab stoat swift tadpole whelp wren
"""


def new_id() -> str:
    """A random container id: 64 hex digits."""
    return secrets.token_hex(32)


def new_name() -> str:
    """A random name of a quality and a young animal."""
    return f"{secrets.choice(_QUALITIES.split())}_{secrets.choice(_CHILDREN.split())}"


def check_name(name: str) -> str:
    """The name without a leading slash. Raises InvalidRequest in Docker's words."""
    bare = name.removeprefix("/")
    if not _NAME.fullmatch(bare):
        raise InvalidRequest(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            field="name",
        )
    return bare
