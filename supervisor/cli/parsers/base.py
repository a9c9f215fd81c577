"""What all parsers share: near misses are named, and every verb knows who carries it out."""

from __future__ import annotations

import argparse
import difflib
from typing import Any, NoReturn

Verbs = argparse._SubParsersAction  # the type is argparse's, its name is private


class Parser(argparse.ArgumentParser):
    """Ends with the verb's own code for a wrong command line, naming what was probably meant."""

    def __init__(self, *, usage_code: int = 2, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.usage_code = usage_code

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # a verb tells itself what it does not know, with its own options at hand
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unknown option or argument: {' '.join(rest)}{self._near(rest[0])}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        _, unknown, rest = message.partition("argument VERB: invalid choice: ")
        if unknown:
            verb = rest.split("'")[1]
            message = f"unknown verb {verb!r}{self._near(verb)}"
        self.exit(self.usage_code, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def _near(self, wrong: str) -> str:
        known = [option for action in self._actions for option in action.option_strings]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known += action.choices
        near = difflib.get_close_matches(wrong, known, 1)
        return f", did you mean {near[0]}?" if near else ""


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
