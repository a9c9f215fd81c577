"""supervisor's verbs for groups: reread, update, avail, add, remove."""

from __future__ import annotations

from argparse import Namespace

from supervisor.cli.client import Client
from supervisor.cli.errors import CliError, Exit
from supervisor.cli.faults import Fault, describe, exit_code_of
from supervisor.cli.output import refuse, show_json, show_table
from supervisor.cli.processes import full_name
from supervisor.cli.progress import busy

_FAILED = 30  # the status of a process that could not be stopped


def _read_again(client: Client) -> tuple[list[str], list[str], list[str]]:
    """The groups that are added, changed and removed. Raises CliError."""
    from xmlrpc.client import Fault as RpcFault

    try:
        ((added, changed, removed),) = client.rpc("reloadConfig")
    except RpcFault as fault:
        raise CliError(describe(fault.faultCode, fault.faultString)) from fault
    return added, changed, removed


def reread(client: Client, args: Namespace) -> int:
    """Tell what the unit files would change."""
    added, changed, removed = _read_again(client)
    if args.json:
        show_json({"added": added, "changed": changed, "removed": removed})
        return Exit.OK
    for groups, word in ((added, "available"), (changed, "changed"), (removed, "disappeared")):
        for group in groups:
            print(f"{group}: {word}")
    if not (added or changed or removed):
        print("no changes")
    return Exit.OK


def update(client: Client, args: Namespace) -> int:
    """Do what `reread` tells: stop and remove what is gone, replace what has changed, add."""
    added, changed, removed = _read_again(client)
    known = {p["group"] for p in client.rpc("getAllProcessInfo")} | {*added, *changed, *removed}
    wanted = set(args.names) - {"all"} or known
    unknown = sorted(wanted - known)
    for name in unknown:
        refuse(name, "no such group")
    code: int = Exit.FAILED if unknown else Exit.OK
    for group in (*removed, *changed):
        if group in wanted:
            code = max(code, _take_down(client, group))
    for group in (*changed, *added):
        if group in wanted:
            code = max(code, _change(client, "addProcessGroup", group, "added"))
    return code


def _take_down(client: Client, group: str) -> int:
    with busy(f"stop {group} ..."):
        results = client.rpc("stopProcessGroup", group)
    if any(result["status"] == _FAILED for result in results):
        refuse(group, "cannot be stopped, and so is not removed")
        return Exit.FAILED
    for result in results:
        if result["status"] == Fault.SUCCESS:
            print(f"{full_name(result)}: stopped")
    return _change(client, "removeProcessGroup", group, "removed")


def _change(client: Client, method: str, group: str, done: str) -> int:
    from xmlrpc.client import Fault as RpcFault

    try:
        client.rpc(method, group)
    except RpcFault as fault:
        code = Fault.BAD_GROUP if fault.faultCode == Fault.BAD_NAME else fault.faultCode
        refuse(group, describe(code, fault.faultString))
        return Exit.FAILED if code == Fault.BAD_GROUP else exit_code_of(code)
    print(f"{group}: {done}")
    return Exit.OK


def add(client: Client, args: Namespace) -> int:
    """Activate groups that the unit files define."""
    return max(_change(client, "addProcessGroup", name, "added") for name in args.names)


def remove(client: Client, args: Namespace) -> int:
    """Remove groups whose processes are stopped."""
    return max(_change(client, "removeProcessGroup", name, "removed") for name in args.names)


def avail(client: Client, args: Namespace) -> int:
    """The processes that the unit files define."""
    available = client.rpc("getAllConfigInfo")
    if args.json:
        show_json(available)
        return Exit.OK
    rows = [
        [
            full_name(process),
            "in use" if process["inuse"] else "available",
            "auto" if process["autostart"] else "manual",
        ]
        for process in available
    ]
    show_table(["NAME", "USE", "START"], rows, plain_header=False)
    return Exit.OK
