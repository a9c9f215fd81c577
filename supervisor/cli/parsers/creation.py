"""`run` and `create`, with Docker's options."""

from __future__ import annotations

import argparse

from supervisor.cli.errors import Exit
from supervisor.cli.parsers.base import Parser, Verbs, add_verb
from supervisor.cli.parsers.containers import add_detach_keys, add_no_sig_proxy
from supervisor.cli.parsers.isolation import add_isolation
from supervisor.cli.parsers.limits import add_limits


def add(verbs: Verbs[Parser]) -> None:
    """Add the verbs of this family."""
    run = _verb(verbs, "run", "make a container and start it")
    run.add_argument("-d", "--detach", action="store_true", help="print its id and leave it")
    add_no_sig_proxy(run)
    add_detach_keys(run)
    for parser in (run, _verb(verbs, "create", "make a container")):
        parser.usage = f"{parser.prog} [OPTIONS] IMAGE [COMMAND] [ARG...]"
        _add_identity(parser)
        _add_process(parser)
        add_isolation(parser)
        _add_files(parser)
        add_limits(parser)
        _add_network(parser)
        parser.add_argument("image", metavar="IMAGE")
        parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)


def _verb(verbs: Verbs[Parser], name: str, summary: str) -> Parser:
    return add_verb(
        verbs,
        name,
        f"running:{name}",
        summary,
        failure=Exit.DAEMON,
        usage_code=Exit.DAEMON,
        has_h=True,
    )


def _many(parser: Parser, *flags: str, metavar: str, help: str) -> None:
    parser.add_argument(*flags, metavar=metavar, action="append", default=[], help=help)


def _add_identity(parser: Parser) -> None:
    add = parser.add_argument
    add("--name", default="", help="a name (default: one is made up)")
    add("--rm", action="store_true", help="remove the container when it has ended")
    _many(parser, "-l", "--label", metavar="NAME=VALUE", help="a label")
    add(
        "--restart", metavar="POLICY", default="", help="no, on-failure[:N], always, unless-stopped"
    )
    add("--stop-signal", metavar="SIGNAL", default="", help="default TERM, or the image's")
    add("--stop-timeout", metavar="S", type=int, help="seconds until it is killed")
    add("--runtime", metavar="NAME", default="", help="native, runc ... (default: the daemon's)")
    add("--log-driver", metavar="NAME", default="", help="default: the daemon's")
    _many(parser, "--log-opt", metavar="NAME=VALUE", help="an option of the log driver")


def _add_process(parser: Parser) -> None:
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="pass on the input")
    add("-t", "--tty", action="store_true", help="with a terminal")
    _many(parser, "-e", "--env", metavar="NAME[=VALUE]", help="a variable; without value: ours")
    _many(parser, "--env-file", metavar="FILE", help="variables, one a line")
    add("-w", "--workdir", metavar="DIR", default="", help="where the command starts")
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="names or numbers")
    add("-h", "--hostname", metavar="NAME", default="", help="default: the short id")
    add("--domainname", metavar="NAME", default="", help="NIS domain name")
    add("--entrypoint", metavar="COMMAND", help="instead of the image's")


def _add_files(parser: Parser) -> None:
    add = parser.add_argument
    add("--read-only", action="store_true", help="the root file system cannot be written")
    _many(parser, "--tmpfs", metavar="PATH[:OPTIONS]", help="a memory file system")
    _many(parser, "-v", "--volume", metavar="HOST:PATH[:ro]", help="a directory of the host")
    _many(parser, "--mount", metavar="type=bind|tmpfs,...", help="the same, word by word")
    add("--shm-size", metavar="SIZE", default="", help="size of /dev/shm (default 64m)")


def _add_network(parser: Parser) -> None:
    add = parser.add_argument
    add("--network", "--net", metavar="NAME", default="default", help="none (default), host")
    _many(parser, "-p", "--publish", metavar="PORTS", help="refused until there are bridges")
    _many(parser, "--add-host", metavar="NAME:IP", help="a line of /etc/hosts")
    _many(parser, "--dns", metavar="IP", help="a name server")
