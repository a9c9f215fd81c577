"""What all parsers share: near misses are named, and every verb knows who carries it out."""

from __future__ import annotations

import argparse
import difflib
from typing import NoReturn

Verbs = argparse._SubParsersAction  # the type is argparse's, its name is private


class Parser(argparse.ArgumentParser):
    """Ends with the verb's own code for a wrong command line, naming what was probably meant."""

    def __init__(self, *args: object, usage_code: int = 2, **settings: object) -> None:
        super().__init__(*args, allow_abbrev=False, **settings)  # type: ignore[arg-type]
        self.usage_code = usage_code

    def error(self, message: str) -> NoReturn:
        self.exit(self.usage_code, f"{self.prog}: error: {message}{self._hint(message)}\n")

    def _hint(self, message: str) -> str:
        """For an unknown verb or option the nearest one, and else where help is."""
        known = [option for action in self._actions for option in action.option_strings]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known += action.choices
        wrong = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("argument VERB: invalid choice: "):
            wrong = [message.split("'")[1]]
        near = difflib.get_close_matches(wrong[0], known, 1) if wrong else []
        return f" (did you mean {near[0]}?)" if near else f" (see {self.prog} --help)"


def add_verb(
    verbs: Verbs[Parser],
    name: str,
    handler: str,
    summary: str,
    *,
    family: str = "docker",
    failure: int = 1,
    usage_code: int = 2,
    has_h: bool = False,
) -> Parser:
    """A verb, carried out by `handler` ("module:function" of supervisor.cli).

    `failure` is its exit code when the daemon refuses; `has_h` gives -h another meaning.
    """
    parser = verbs.add_parser(
        name, help=summary, description=summary, add_help=False, usage_code=usage_code
    )
    flags = ["--help"] if has_h else ["-h", "--help"]
    parser.add_argument(*flags, action="help", help="show this and end")
    parser.set_defaults(handler=handler, family=family, failure=failure, verb=name)
    return parser


def add_json(parser: Parser) -> None:
    """--json, for whatever lists."""
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def add_filter(parser: Parser, known: str) -> None:
    """--filter, as Docker has it."""
    parser.add_argument(
        "--filter", metavar="NAME=VALUE", action="append", default=[], help=f"only some: {known}"
    )


def add_follow_back(parser: Parser) -> None:
    """--since and --until."""
    moment = "a time (2026-11-24T10:00:00), or how long ago (10m, 1h30m)"
    parser.add_argument("--since", metavar="TIME", help=f"not before {moment}")
    parser.add_argument("--until", metavar="TIME", help="not after it")
