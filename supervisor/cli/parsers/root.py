"""The whole command line: options of every verb, then the verbs, family by family."""

from __future__ import annotations

import argparse

from supervisor.cli.parsers import containers, creation, daemon, images, processes
from supervisor.cli.parsers.base import Parser


def build() -> Parser:
    """The parser of crechectl."""
    parser = Parser(
        prog="crechectl",
        description="Looks after the containers of this host, through creched's socket.",
        epilog="Names are those of `crechectl status` and `crechectl ps`; each verb has --help.",
    )
    parser.add_argument(
        "-s",
        "--socket",
        metavar="PATH",
        help="the daemon's socket (default $CRECHE_SOCKET, else /run/creche/creche.sock)",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    for family in (processes, containers, creation, images, daemon):
        family.add(verbs)
    return parser


def verbs_of(parser: Parser) -> list[str]:
    """Every verb that is shown, in the order of the help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [choice.dest for choice in action._choices_actions]
    return []
