"""The verbs of supervisorctl: status, start, stop, restart, signal, tail and the unit files."""

from __future__ import annotations

import argparse
import sys
import xmlrpc.client
from typing import Any

from supervisor.cli.client import Client, ClientError
from supervisor.cli.output import print_json, print_table, waiting_for

_DOWN = frozenset({0, 100, 200, 1000})  # STOPPED, EXITED, FATAL, UNKNOWN
_WORDS = {
    10: "no such process",
    11: "bad signal name",
    20: "no such file",
    21: "file is not executable",
    30: "failed",
    40: "abnormal termination",
    50: "spawn error",
    60: "already started",
    70: "not running",
    90: "already active",
    91: "process group is still running: stop it first",
}
_HARMLESS = frozenset({60, 70, 80, 90})


def add_parsers(verbs: Any) -> None:
    """Declare the verbs."""
    for verb, act, text in (
        ("start", start, "start processes, what they require first"),
        ("stop", stop, "stop processes, what requires them first"),
        ("restart", restart, "stop and start"),
    ):
        parser = verbs.add_parser(verb, help=text)
        parser.add_argument("names", nargs="+", metavar="NAME", help="name, group:*, id, or all")
        parser.set_defaults(act=act)
    parser = verbs.add_parser("status", help="how everything is doing")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=status)
    parser = verbs.add_parser("signal", help="send a signal")
    parser.add_argument("signal")
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.set_defaults(act=send_signal)
    parser = verbs.add_parser("pid", help="the daemon's pid, or a process's")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.set_defaults(act=pid)
    parser = verbs.add_parser("tail", help="the end of a process's output")
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("-n", "--bytes", type=int, default=1600)
    parser.add_argument("name")
    parser.add_argument("stream", nargs="?", choices=("stdout", "stderr"), default="stdout")
    parser.set_defaults(act=tail)
    for verb, act, text in (
        ("reread", reread, "read the unit files and say what differs"),
        ("update", update, "read the unit files and apply what differs"),
        ("avail", avail, "every process of the unit files"),
        ("shutdown", shutdown, "end the daemon and all containers"),
    ):
        verbs.add_parser(verb, help=text).set_defaults(act=act)
    for verb, act in (("add", add), ("remove", remove)):
        parser = verbs.add_parser(verb, help=f"{verb} groups of the unit files")
        parser.add_argument("groups", nargs="+", metavar="GROUP")
        parser.set_defaults(act=act)


def namespec(process: dict[str, Any]) -> str:
    """The name with its group where that differs."""
    name, group = process["name"], process["group"]
    return str(name) if name == group else f"{group}:{name}"


def _fault_words(fault: xmlrpc.client.Fault) -> str:
    text = str(fault.faultString).partition(": ")[2]
    words = _WORDS.get(fault.faultCode)
    if words is None:
        return str(fault.faultString)
    return f"{words} ({text.partition(': ')[2]})" if ": " in text else words


def status(client: Client, options: argparse.Namespace) -> int:
    """0 if all that is shown runs, 3 if something does not, 4 for an unknown name."""
    processes = client.rpc("getAllProcessInfo")
    unknown = 0
    if options.names and "all" not in options.names:
        chosen = []
        for name in options.names:
            found = [p for p in processes if _is_named(p, name)]
            if not found:
                print(f"crechectl: error: {name}: no such process", file=sys.stderr)
                unknown = 4
            chosen += found
        processes = chosen
    if options.json:
        print_json(processes)
    elif processes:
        rows = [[namespec(p), p["statename"], p["description"]] for p in processes]
        print_table(["NAME", "STATE", "DESCRIPTION"], rows)
    return unknown or (3 if any(p["state"] in _DOWN for p in processes) else 0)


def _is_named(process: dict[str, Any], name: str) -> bool:
    return name in (namespec(process), process["name"], f"{process['group']}:*")


def _each(client: Client, names: list[str], verb: str, done: str) -> int:
    """Start or stop each name; the worst exit code."""
    worst = 0
    for name in names:
        try:
            if name == "all":
                code = _report(client.rpc(f"{verb}AllProcesses"), done)
            elif name.endswith(":*"):
                code = _report(client.rpc(f"{verb}ProcessGroup", name[:-2]), done)
            else:
                client.rpc(f"{verb}Process", _full_name(client, name))
                print(f"{name}: {done}")
                code = 0
        except xmlrpc.client.Fault as fault:
            print(f"crechectl: error: {name}: {_fault_words(fault)}", file=sys.stderr)
            code = _exit_code(fault.faultCode)
        worst = max(worst, code)
    return worst


def _exit_code(fault: int) -> int:
    """As supervisorctl ends: what is so already is no failure, a failed start is 7."""
    if fault in _HARMLESS:
        return 0
    return 7 if fault in (40, 50) else 1


def _full_name(client: Client, name: str) -> str:
    """supervisor's name for an id, or the beginning of one."""
    processes = client.rpc("getAllProcessInfo")
    if ":" in name or any(p["name"] == name for p in processes):
        return name
    try:
        return str(client.call("GET", f"/containers/{name}/json")["Name"]).removeprefix("/")
    except ClientError:
        return name


def _report(results: list[dict[str, Any]], done: str) -> int:
    worst = 0
    for result in results:
        words = done if result["status"] == 80 else _WORDS.get(result["status"], "failed")
        print(f"{namespec(result)}: {words}")
        worst = max(worst, _exit_code(result["status"]))
    return worst


def start(client: Client, options: argparse.Namespace) -> int:
    """Start and wait until ready."""
    with waiting_for("starting"):
        return _each(client, options.names, "start", "started")


def stop(client: Client, options: argparse.Namespace) -> int:
    """Stop and wait until gone."""
    with waiting_for("stopping"):
        return _each(client, options.names, "stop", "stopped")


def restart(client: Client, options: argparse.Namespace) -> int:
    """Stop what runs, then start."""
    stop(client, options)
    return start(client, options)


def send_signal(client: Client, options: argparse.Namespace) -> int:
    """Send a signal to processes."""
    worst = 0
    for name in options.names:
        try:
            client.rpc("signalProcess", _full_name(client, name), options.signal)
            print(f"{name}: signalled")
        except xmlrpc.client.Fault as fault:
            print(f"crechectl: error: {name}: {_fault_words(fault)}", file=sys.stderr)
            worst = 1
    return worst


def pid(client: Client, options: argparse.Namespace) -> int:
    """0, or 7 if a process does not run."""
    if not options.names:
        print(client.rpc("getPID"))
        return 0
    worst = 0
    for name in options.names:
        number = _rpc(client, "getProcessInfo", _full_name(client, name))["pid"]
        print(number)
        worst = worst or (0 if number else 7)
    return worst


def _rpc(client: Client, method: str, *parameters: Any) -> Any:
    """As Client.rpc, faults told as errors."""
    try:
        return client.rpc(method, *parameters)
    except xmlrpc.client.Fault as fault:
        about = f"{parameters[0]}: " if parameters else ""
        raise ClientError(f"{about}{_fault_words(fault)}") from fault


def tail(client: Client, options: argparse.Namespace) -> int:
    """Bytes of the end; with --follow what comes, until interrupted."""
    name = _full_name(client, options.name)
    if not options.follow:
        method = "readProcessStdoutLog" if options.stream == "stdout" else "readProcessStderrLog"
        sys.stdout.write(_rpc(client, method, name, -options.bytes, 0))
        return 0
    with client.open("GET", f"/logtail/{name}/{options.stream}") as answer:
        while data := answer.read1(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return 0


def reread(client: Client, options: argparse.Namespace) -> int:
    """Say what differs."""
    added, changed, removed = _rpc(client, "reloadConfig")[0]
    for groups, word in ((added, "available"), (changed, "changed"), (removed, "disappeared")):
        for group in groups:
            print(f"{group}: {word}")
    if not (added or changed or removed):
        print("no changes to the unit files")
    return 0


def update(client: Client, options: argparse.Namespace) -> int:
    """Apply what differs."""
    added, changed, removed = _rpc(client, "reloadConfig")[0]
    with waiting_for("updating"):
        for group in (*removed, *changed):
            _rpc(client, "stopProcessGroup", group)
            _rpc(client, "removeProcessGroup", group)
            if group in removed:
                print(f"{group}: removed")
        for group in (*changed, *added):
            _rpc(client, "addProcessGroup", group)
            print(f"{group}: {'added' if group in added else 'updated'}")
    return 0


def avail(client: Client, options: argparse.Namespace) -> int:
    """List the unit files' processes."""
    rows = [
        [
            namespec(process),
            "in use" if process["inuse"] else "avail",
            "auto" if process["autostart"] else "manual",
            process["command"],
        ]
        for process in _rpc(client, "getAllConfigInfo")
    ]
    if rows:
        print_table(["NAME", "USE", "START", "COMMAND"], rows)
    return 0


def add(client: Client, options: argparse.Namespace) -> int:
    """Make groups active."""
    for group in options.groups:
        _rpc(client, "addProcessGroup", group)
        print(f"{group}: added")
    return 0


def remove(client: Client, options: argparse.Namespace) -> int:
    """Remove groups that are down."""
    for group in options.groups:
        _rpc(client, "removeProcessGroup", group)
        print(f"{group}: removed")
    return 0


def shutdown(client: Client, options: argparse.Namespace) -> int:
    """End the daemon."""
    _rpc(client, "shutdown")
    print("shut down")
    return 0
