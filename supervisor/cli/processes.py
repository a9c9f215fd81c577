"""supervisor's verbs for processes: status, start, stop, restart, signal, pid, clear."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from supervisor.cli.client import Client, part
from supervisor.cli.errors import ApiError, CliError, Exit
from supervisor.cli.faults import Fault, describe, exit_code_of
from supervisor.cli.output import refuse, show_json, show_table
from supervisor.cli.progress import busy

_AT_REST = frozenset({0, 100, 200, 1000})  # STOPPED, EXITED, FATAL, UNKNOWN

Process = dict[str, Any]  # supervisor's getProcessInfo


def full_name(process: Process) -> str:
    """`name`, or `group:name` if they differ."""
    group, name = process["group"], process["name"]
    return str(name) if group == name else f"{group}:{name}"


def status(client: Client, args: Namespace) -> int:
    """Show processes; 3 if one is not running, 4 if a name is not there."""
    processes: list[Process] = client.rpc("getAllProcessInfo")
    names = [name for name in args.names if name != "all"]
    unknown = [name for name in names if not any(_fits(p, name) for p in processes)]
    if names and "all" not in args.names:
        processes = [p for p in processes if any(_fits(p, name) for name in names)]
    if args.json:
        show_json(processes)
    elif processes:
        rows = [[full_name(p), p["statename"], p["description"]] for p in processes]
        show_table(["NAME", "STATE", "DESCRIPTION"], rows, plain_header=False)
    for name in unknown:
        kind = "group" if name.endswith(":*") else "process"
        refuse(name, f"no such {kind}")
    if unknown:
        return Exit.UNKNOWN
    at_rest = any(p["state"] in _AT_REST for p in processes)
    return Exit.NOT_ALL_RUNNING if at_rest else Exit.OK


def _fits(process: Process, name: str) -> bool:
    if name.endswith(":*"):
        return bool(process["group"] == name[:-2])
    return name in (full_name(process), f"{process['group']}:{process['name']}", process["name"])


def start(client: Client, args: Namespace) -> int:
    """Start processes; started already is success."""
    return _each(args.names, lambda name: _change(client, "start", name))


def stop(client: Client, args: Namespace) -> int:
    """Stop processes; stopped already is success."""
    return _each(args.names, lambda name: _change(client, "stop", name, grace_s=args.time))


def restart(client: Client, args: Namespace) -> int:
    """Stop processes and start them again."""
    stopped = stop(client, args)
    return max(stopped, start(client, args))


def _each(names: list[str], act: Callable[[str], int]) -> int:
    """Do it for every name, `all` standing for itself; the worst exit code."""
    return max(act(name) for name in (["all"] if "all" in names else names))


def _change(client: Client, verb: str, name: str, *, grace_s: float | None = None) -> int:
    """Start or stop what a name means, telling how it went."""
    done = {"start": "started", "stop": "stopped"}[verb]
    with busy(f"{verb} {name} ..."):
        if grace_s is not None:
            return _change_container(client, verb, name, done, grace_s)
        outcome = call_by_name(client, verb, name)
        if outcome.code == Fault.BAD_NAME and ":" not in name:
            return _change_container(client, verb, name, done, None)
    # what is stopped already is as it was asked to be
    return outcome.tell(done, fine=Fault.NOT_RUNNING if verb == "stop" else Fault.SUCCESS)


def _change_container(
    client: Client, verb: str, name: str, done: str, grace_s: float | None
) -> int:
    """The same by Docker's API, which knows ids and a grace time, but no groups."""
    if name == "all" or name.endswith(":*"):
        raise CliError(f"--time goes with single names, not with {name}", code=Exit.USAGE)
    try:
        path = f"/containers/{part(name.rpartition(':')[2])}/{verb}"
        client.call("POST", path, {"t": None if grace_s is None else int(grace_s)})
    except ApiError as error:
        reason = "no such process" if error.status == 404 else str(error)
        refuse(name, reason)
        return Exit.FAILED
    print(f"{name}: {done}")
    return Exit.OK


class Outcome:
    """What became of a call for one name: for groups one result each, else a single code."""

    def __init__(self, name: str, code: int, reason: str = "") -> None:
        self.name = name
        self.code = code
        self.reason = reason
        self.members: list[Process] | None = None

    def tell(self, done: str, *, fine: Fault = Fault.SUCCESS) -> int:
        """Print a line for each process; the worst exit code, `fine` being none."""
        if self.members is None:
            return _tell(self.name, self.code, self.reason, done, fine)
        results = [
            _tell(full_name(m), m["status"], m["description"], done, fine) for m in self.members
        ]
        return max(results, default=Exit.OK)


def _tell(name: str, code: int, reason: str, done: str, fine: Fault = Fault.SUCCESS) -> int:
    if code == Fault.SUCCESS:
        print(f"{name}: {done}")
    else:
        refuse(name, describe(code, reason).removeprefix(f"{name}: "))
    return Exit.OK if code == fine else exit_code_of(code)


def call_by_name(client: Client, verb: str, name: str, *more: object) -> Outcome:
    """startProcess, startProcessGroup or startAllProcesses, and so on for other verbs."""
    from xmlrpc.client import Fault as RpcFault

    method, parameters = f"{verb}Process", (name, *more)
    if name == "all":
        method, parameters = f"{verb}AllProcesses", more
    elif name.endswith(":*"):
        method, parameters = f"{verb}ProcessGroup", (name[:-2], *more)
    outcome = Outcome(name, Fault.SUCCESS)
    try:
        result = client.rpc(method, *parameters)
    except RpcFault as fault:
        code = fault.faultCode
        if code == Fault.BAD_NAME and name.endswith(":*"):
            code = Fault.BAD_GROUP
        return Outcome(name, code, fault.faultString)
    if isinstance(result, list):
        outcome.members = result
    return outcome


def signal(client: Client, args: Namespace) -> int:
    """Send a signal to processes."""
    return _each(
        args.names,
        lambda name: call_by_name(client, "signal", name, args.signal).tell("signalled"),
    )


def pid(client: Client, args: Namespace) -> int:
    """Print the daemon's process id, or those of processes; 7 if one does not run."""
    if not args.names:
        print(client.rpc("getPID"))
        return Exit.OK
    if "all" in args.names:
        for process in client.rpc("getAllProcessInfo"):
            print(process["pid"])
        return Exit.OK
    return _each(args.names, lambda name: _pid_of(client, name))


def _pid_of(client: Client, name: str) -> int:
    from xmlrpc.client import Fault as RpcFault

    try:
        number = client.rpc("getProcessInfo", name)["pid"]
    except RpcFault as fault:
        return _tell(name, fault.faultCode, fault.faultString, "")
    print(number)
    return Exit.OK if number else Exit.NOT_RUNNING


def clear(client: Client, args: Namespace) -> int:
    """Empty the logs of processes."""
    from xmlrpc.client import Fault as RpcFault

    def one(name: str) -> int:
        outcome = Outcome(name, Fault.SUCCESS)
        try:
            if name == "all":
                outcome.members = client.rpc("clearAllProcessLogs")
            else:
                client.rpc("clearProcessLogs", name)
        except RpcFault as fault:
            outcome = Outcome(name, fault.faultCode, fault.faultString)
        return outcome.tell("cleared")

    return _each(args.names, one)
