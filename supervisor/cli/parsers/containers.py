"""Docker's verbs for containers that are there."""

from __future__ import annotations

import argparse

from supervisor.cli.parsers.base import (
    Parser,
    Verbs,
    add_filter,
    add_follow_back,
    add_json,
    add_verb,
)

_NAMES = "a name, an id, or the beginning of an id"


def add(verbs: Verbs[Parser]) -> None:
    """Add the verbs of this family."""
    _add_ps(verbs)
    _add_logs(verbs)
    _add_exec(verbs)
    inspect = add_verb(verbs, "inspect", "containers:inspect", "all of a container or image")
    inspect.add_argument("names", metavar="NAME", nargs="+", help=f"{_NAMES}; an image too")
    inspect.add_argument("--type", choices=("container", "image"), help="only of this kind")
    inspect.add_argument("--json", action="store_true", help="it always is")
    rename = add_verb(verbs, "rename", "containers:rename", "give a container another name")
    rename.add_argument("old", metavar="OLD", help=_NAMES)
    rename.add_argument("new", metavar="NEW")
    rm = add_verb(verbs, "rm", "containers:rm", "remove containers")
    rm.add_argument("-f", "--force", action="store_true", help="running ones too: they are killed")
    rm.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
    kill = add_verb(verbs, "kill", "containers:kill", "send a signal to containers")
    kill.add_argument("-s", "--signal", default="KILL", help="default KILL")
    kill.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
    pause = add_verb(verbs, "pause", "containers:pause", "stop every process where it is")
    pause.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
    unpause = add_verb(verbs, "unpause", "containers:unpause", "let paused containers go on")
    unpause.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
    wait = add_verb(verbs, "wait", "containers:wait", "wait for the end, print the exit codes")
    wait.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
    _add_usage(verbs)
    attach = add_verb(verbs, "attach", "streams:attach", "join the streams of a container")
    attach.add_argument("--no-stdin", action="store_true", help="do not pass on the input")
    add_no_sig_proxy(attach)
    add_detach_keys(attach)
    attach.add_argument("name", metavar="NAME", help=_NAMES)


def add_no_sig_proxy(parser: Parser) -> None:
    """--no-sig-proxy, for whatever joins a container's streams."""
    parser.add_argument(
        "--no-sig-proxy", action="store_true", help="do not pass on INT, TERM and other signals"
    )


def add_detach_keys(parser: Parser) -> None:
    """--detach-keys, for whatever joins a terminal."""
    parser.add_argument(
        "--detach-keys", metavar="KEYS", default="", help="leave a terminal (default ctrl-p,ctrl-q)"
    )


def _add_exec(verbs: Verbs[Parser]) -> None:
    run = add_verb(verbs, "exec", "execution:execute", "run a command in a running container")
    run.usage = f"{run.prog} [OPTIONS] NAME COMMAND [ARG...]"
    add = run.add_argument
    add("-d", "--detach", action="store_true", help="do not wait for it")
    add("-i", "--interactive", action="store_true", help="pass on the input")
    add("-t", "--tty", action="store_true", help="with a terminal")
    for flags, metavar, text in (
        (("-e", "--env"), "NAME[=VALUE]", "a variable; without value: ours"),
        (("--env-file",), "FILE", "variables, one a line"),
    ):
        add(*flags, metavar=metavar, action="append", default=[], help=text)
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="default: the container's")
    add("-w", "--workdir", metavar="DIR", default="", help="default: the container's")
    add("--privileged", action="store_true", help="with every capability")
    add_detach_keys(run)
    add("name", metavar="NAME", help=_NAMES)
    add("command", metavar="COMMAND", help="and its arguments")
    add("arguments", metavar="ARG", nargs=argparse.REMAINDER)


def _add_usage(verbs: Verbs[Parser]) -> None:
    stats = add_verb(verbs, "stats", "usage:stats", "what containers use, again and again")
    stats.add_argument("--no-stream", action="store_true", help="once")
    stats.add_argument("names", metavar="NAME", nargs="*", help=f"{_NAMES}; default all that run")
    add_json(stats)
    top = add_verb(verbs, "top", "usage:top", "the processes of a container")
    top.add_argument("name", metavar="NAME", help=_NAMES)
    top.add_argument("ps_args", metavar="ARGUMENT", nargs="*", help="of ps: pid,comm or aux")
    add_json(top)


def _add_ps(verbs: Verbs[Parser]) -> None:
    ps = add_verb(verbs, "ps", "containers:ps", "list containers")
    ps.add_argument("-a", "--all", action="store_true", help="those at rest too")
    ps.add_argument("-q", "--quiet", action="store_true", help="ids only")
    ps.add_argument("--no-trunc", action="store_true", help="ids and commands in full")
    add_filter(ps, "id, name, label, status, ancestor, exited, since, before")
    add_json(ps)


def _add_logs(verbs: Verbs[Parser]) -> None:
    logs = add_verb(verbs, "logs", "streams:logs", "what a container has written")
    logs.add_argument("-f", "--follow", action="store_true", help="and what it writes later")
    logs.add_argument("-n", "--tail", metavar="LINES", default="all", help="only the last lines")
    logs.add_argument("-t", "--timestamps", action="store_true", help="each line with its time")
    logs.add_argument("--details", action="store_true", help="with the labels that are logged")
    add_follow_back(logs)
    logs.add_argument("name", metavar="NAME", help=_NAMES)
