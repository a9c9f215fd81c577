"""supervisor's verbs: processes and groups, by `name`, `group:name`, `group:*` or `all`."""

from __future__ import annotations

from supervisor.cli.parsers.base import Parser, Verbs, add_json
from supervisor.cli.parsers.base import add_verb as add_any_verb

_NAMES = "name, group:name, group:* or all; start, stop and restart take container ids as well"


def add(verbs: Verbs[Parser]) -> None:
    """Add the verbs of this family."""
    status = _verb(verbs, "status", "how processes are doing (3: some are not running)")
    status.add_argument("names", metavar="NAME", nargs="*", help=_NAMES)
    add_json(status)
    start = _verb(verbs, "start", "start processes or containers")
    start.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
    for name in ("stop", "restart"):
        verb = _verb(verbs, name, f"{name} processes or containers")
        verb.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
        verb.add_argument(
            "-t", "--time", metavar="S", type=float, help="seconds until it is killed"
        )
    signal = _verb(verbs, "signal", "send a signal to processes")
    signal.add_argument("signal", metavar="SIGNAL", help="HUP, SIGHUP or 1")
    signal.add_argument("names", metavar="NAME", nargs="+", help=_NAMES)
    pid = _verb(verbs, "pid", "the daemon's process id, or those of processes")
    pid.add_argument("names", metavar="NAME", nargs="*", help="name or all")
    _add_tail(verbs)
    clear = _verb(verbs, "clear", "empty the logs of processes")
    clear.add_argument("names", metavar="NAME", nargs="+", help="name or all")
    _add_groups(verbs)


def _verb(verbs: Verbs[Parser], name: str, summary: str, module: str = "processes") -> Parser:
    return add_any_verb(verbs, name, f"{module}:{name}", summary, family="supervisor")


def _add_tail(verbs: Verbs[Parser]) -> None:
    tail = _verb(verbs, "tail", "the end of a process's output", "tail")
    tail.usage = "crechectl tail [-f] [-BYTES] NAME [stdout|stderr]"
    tail.add_argument("-f", "--follow", action="store_true", help="and what comes later")
    # argparse takes -100 for an argument as long as no option looks like a number
    tail.add_argument("words", metavar="NAME", nargs="+", help="bytes, name, stream")


def _add_groups(verbs: Verbs[Parser]) -> None:
    reread = _verb(verbs, "reread", "read the unit files, change nothing", "groups")
    add_json(reread)
    update = _verb(verbs, "update", "read the unit files and do as they say", "groups")
    update.add_argument("names", metavar="GROUP", nargs="*", help="only these; default all")
    avail = _verb(verbs, "avail", "the processes that the unit files define", "groups")
    add_json(avail)
    for name, summary in (("add", "activate"), ("remove", "remove stopped")):
        verb = _verb(verbs, name, f"{summary} groups", "groups")
        verb.add_argument("names", metavar="GROUP", nargs="+", help="groups of the unit files")
