"""Options of `run` and `create` that say how a container is kept apart from the host."""

from __future__ import annotations

from supervisor.cli.parsers.base import Parser

# Flag, metavar, and what it is; all of them may be given several times.
_LISTS = (
    ("--cap-add", "NAME", "a capability more, or ALL"),
    ("--cap-drop", "NAME", "a capability less, or ALL"),
    (
        "--security-opt",
        "OPTION",
        "no-new-privileges, seccomp=FILE|unconfined|builtin, apparmor=NAME|unconfined, "
        "systempaths=unconfined, label=...",
    ),
    ("--device", "HOST[:PATH[:rwm]]", "a device of the host, or a directory of them"),
    ("--device-cgroup-rule", "RULE", "what may be used of a kind of device: 'c 42:* rmw'"),
    ("--ulimit", "NAME=SOFT[:HARD]", "a resource limit; -1: none"),
    ("--sysctl", "NAME=VALUE", "a kernel parameter of the container's own"),
    ("--group-add", "GROUP", "one more group"),
)
_MODES = (
    ("--pid", "host, or container:NAME"),
    ("--ipc", "private (default), shareable, host, none, or container:NAME"),
    ("--uts", "host"),
    ("--cgroupns", "private (default) or host"),
    ("--userns", "host, auto, keep-id, or map:uid=CONTAINER:HOST:SIZE,gid=..."),
)


def add_isolation(parser: Parser) -> None:
    """Add the options of this family."""
    add = parser.add_argument
    add("--privileged", action="store_true", help="all capabilities and devices, nothing hidden")
    add("--init", action="store_true", help="a process that reaps, in front of the command")
    for flag, metavar, summary in _LISTS:
        add(flag, metavar=metavar, action="append", default=[], help=summary)
    for flag, summary in _MODES:
        add(flag, metavar="MODE", default="", help=summary)
