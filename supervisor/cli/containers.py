"""The verbs of Docker for containers that are there: ps, logs, inspect, rm, kill, wait, events."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from supervisor.cli.client import API, ApiError, Client
from supervisor.cli.output import print_json, print_table
from supervisor.cli.streams import copy_frames, feed_stdin


def add_parsers(verbs: Any) -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("ps", help="list containers")
    parser.add_argument("-a", "--all", action="store_true", help="stopped ones as well")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    _add_filter(parser)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=ps)
    parser = verbs.add_parser("logs", help="what a container wrote")
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("-t", "--timestamps", action="store_true")
    parser.add_argument("-n", "--tail", default="all")
    parser.add_argument("--since")
    parser.add_argument("--until")
    parser.add_argument("--details", action="store_true")
    parser.add_argument("--stats", action="store_true", help="the sinks' counters instead")
    parser.add_argument("name")
    parser.set_defaults(act=logs)
    parser = verbs.add_parser("inspect", help="everything about containers or images, as JSON")
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.set_defaults(act=inspect)
    parser = verbs.add_parser("rm", help="remove containers")
    parser.add_argument("-f", "--force", action="store_true", help="running ones as well")
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.set_defaults(act=rm)
    parser = verbs.add_parser("kill", help="kill containers; no restart follows")
    parser.add_argument("-s", "--signal", default="KILL")
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.set_defaults(act=kill)
    parser = verbs.add_parser("wait", help="wait until containers end, and print their exit codes")
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.set_defaults(act=wait)
    parser = verbs.add_parser("rename", help="give a container another name")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.set_defaults(act=rename)
    parser = verbs.add_parser("attach", help="attach to a container's streams")
    parser.add_argument("name")
    parser.set_defaults(act=attach)
    parser = verbs.add_parser("events", help="what happens, as it happens")
    parser.add_argument("--since")
    parser.add_argument("--until")
    _add_filter(parser)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=events)


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE")


def _filters(options: argparse.Namespace) -> str:
    found: dict[str, list[str]] = {}
    for item in options.filter:
        key, _, value = item.partition("=")
        found.setdefault(key, []).append(value)
    return json.dumps(found) if found else ""


def ps(client: Client, options: argparse.Namespace) -> int:
    """List containers."""
    query = {"all": options.all, "filters": _filters(options)}
    found = client.call("GET", "/containers/json", query)
    if options.json:
        print_json(found)
    elif options.quiet:
        for container in found:
            print(container["Id"][:12])
    else:
        rows = [
            [c["Id"][:12], c["Image"], c["Command"][:30], c["Status"], c["Names"][0][1:]]
            for c in found
        ]
        print_table(["CONTAINER ID", "IMAGE", "COMMAND", "STATUS", "NAME"], rows)
    return 0


def logs(client: Client, options: argparse.Namespace) -> int:
    """Print a container's output to the stream it came from."""
    if options.stats:
        full = client.call("GET", f"/containers/{options.name}/json")["Id"]
        with client.open("GET", f"/creche/logs/{full}/stats") as answer:
            print_json(json.loads(answer.read()))
        return 0
    query = {
        "stdout": 1,
        "stderr": 1,
        "follow": int(options.follow),
        "timestamps": int(options.timestamps),
        "details": int(options.details),
        "tail": options.tail,
        "since": _moment(options.since),
        "until": _moment(options.until),
    }
    with client.open("GET", f"{API}/containers/{options.name}/logs", query) as answer:
        copy_frames(answer.read1)
    return 0


def _moment(text: str | None) -> str | None:
    """ "10m" ago as seconds since the epoch; other forms as they are."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text and text[-1] in units and text[:-1].replace(".", "", 1).isdecimal():
        return str(time.time() - float(text[:-1]) * units[text[-1]])
    return text


def inspect(client: Client, options: argparse.Namespace) -> int:
    """Print containers, or images of that name."""
    found = []
    for name in options.names:
        try:
            found.append(client.call("GET", f"/containers/{name}/json"))
        except ApiError as error:
            if error.status != 404:
                raise
            found.append(client.call("GET", f"/images/{name}/json"))
    print_json(found)
    return 0


def rm(client: Client, options: argparse.Namespace) -> int:
    """Remove containers."""
    for name in options.names:
        client.call("DELETE", f"/containers/{name}", {"force": options.force})
        print(name)
    return 0


def kill(client: Client, options: argparse.Namespace) -> int:
    """Kill containers."""
    for name in options.names:
        client.call("POST", f"/containers/{name}/kill", {"signal": options.signal})
        print(name)
    return 0


def wait(client: Client, options: argparse.Namespace) -> int:
    """Print exit codes as containers end."""
    for name in options.names:
        print(client.call("POST", f"/containers/{name}/wait")["StatusCode"])
    return 0


def rename(client: Client, options: argparse.Namespace) -> int:
    """Rename a container."""
    client.call("POST", f"/containers/{options.old}/rename", {"name": options.new})
    return 0


def attach(client: Client, options: argparse.Namespace) -> int:
    """Attach; the container's exit code."""
    query = {"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1}
    sock, first = client.hijack(f"/containers/{options.name}/attach", query)
    feed_stdin(sock)
    copy_frames(sock.recv, first)
    return int(client.call("POST", f"/containers/{options.name}/wait")["StatusCode"])


def events(client: Client, options: argparse.Namespace) -> int:
    """Print events until interrupted, or `--until`."""
    query = {
        "since": _moment(options.since),
        "until": _moment(options.until),
        "filters": _filters(options),
    }
    for event in client.lines("/events", query):
        if options.json:
            print(json.dumps(event))
        else:
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(event["time"]))
            about = ", ".join(f"{k}={v}" for k, v in event["Actor"]["Attributes"].items())
            print(f"{moment} {event['Type']} {event['Action']} {event['Actor']['ID']} ({about})")
        sys.stdout.flush()
    return 0
