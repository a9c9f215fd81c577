"""Verbs about the daemon: events, info, version, shutdown."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import datetime
from typing import Any

from supervisor.cli.client import Client
from supervisor.cli.containers import filters_of
from supervisor.cli.errors import Exit
from supervisor.cli.output import show_json, size_text
from supervisor.cli.progress import busy
from supervisor.cli.streams import moment


def events(client: Client, args: Namespace) -> int:
    """Print what happens, a line for each event, until interrupted or `until`."""
    query = {
        "since": moment(args.since),
        "until": moment(args.until),
        "filters": filters_of(args.filter),
    }
    with client.stream("GET", "/events", query) as response:
        for line in response:
            text = line.decode().rstrip() if args.json else event_text(json.loads(line))
            print(text, flush=True)
    return Exit.OK


def event_text(event: dict[str, Any]) -> str:
    """When, what kind, what happened, to whom."""
    when = datetime.fromtimestamp(event["timeNano"] / 1e9).astimezone()
    attributes = dict(event["Actor"]["Attributes"])
    name = attributes.pop("name", "")
    details = ", ".join(f"{key}={value}" for key, value in sorted(attributes.items()))
    words = [
        when.isoformat(timespec="milliseconds"),
        event["Type"],
        event["Action"],
        event["Actor"]["ID"][:12],
        name,
        f"({details})" if details else "",
    ]
    return " ".join(word for word in words if word)


def info(client: Client, args: Namespace) -> int:
    """What the daemon tells of itself and the host."""
    found: dict[str, Any] = client.call("GET", "/info")
    if args.json:
        show_json(found)
        return Exit.OK
    running, stopped = found["ContainersRunning"], found["ContainersStopped"]
    lines = [
        ("Version", found["ServerVersion"]),
        ("Containers", f"{running} running, {stopped} at rest"),
        ("Images", found["Images"]),
        ("Root", found["DockerRootDir"]),
        ("Storage", found["Driver"]),
        *((f"  {name}", value) for name, value in found["DriverStatus"] or ()),
        ("Execution", ", ".join(found["Runtimes"])),
        ("Logs", f"{found['LoggingDriver']} ({', '.join(found['Plugins']['Log'])} known)"),
        ("Networks", ", ".join(found["Plugins"]["Network"])),
        ("Control groups", f"v{found['CgroupVersion']}"),
        ("Host", found["Name"]),
        ("System", f"{found['OperatingSystem']}, Linux {found['KernelVersion']}"),
        ("Machine", f"{found['NCPU']} processors, {size_text(found['MemTotal'])}"),
    ]
    width = max(len(name) for name, _ in lines) + 2
    for name, value in lines:
        print(f"{name + ':':<{width}}{value}")
    return Exit.OK


def version(client: Client, args: Namespace) -> int:
    """The client's version and the daemon's."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        ours = installed("creche")
    except PackageNotFoundError:
        ours = "unknown (not installed)"
    found: dict[str, Any] = client.call("GET", "/version")
    if args.json:
        show_json({"Client": {"Version": ours}, "Server": found})
        return Exit.OK
    print(f"crechectl {ours}")
    print(f"creched {found['Version']} (Docker API {found['MinAPIVersion']} to "
          f"{found['ApiVersion']}, Linux {found['KernelVersion']})")  # fmt: skip
    return Exit.OK


def shutdown(client: Client, args: Namespace) -> int:
    """Stop every container and end the daemon."""
    with busy("shut down ..."):
        client.rpc("shutdown")
    print("shut down")
    return Exit.OK
