"""`exec`: one more process in a running container."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from supervisor.cli import terminal
from supervisor.cli.client import Client, part
from supervisor.cli.creation import environment
from supervisor.cli.errors import Exit
from supervisor.cli.streams import Session, check_terminal, converse, tell_left


def execute(client: Client, args: Namespace) -> int:
    """Run a command in a container; attached, its exit code is ours."""
    attached = not args.detach
    stdin = args.interactive and attached
    check_terminal(tty=args.tty and attached, stdin=stdin, detach_keys=args.detach_keys)
    size = terminal.size() if args.tty else None
    body = _body(args, attached=attached, size=size)
    exec_id = client.call("POST", f"/containers/{part(args.name)}/exec", body=body)["Id"]
    start = {"Detach": args.detach, "Tty": args.tty, "ConsoleSize": size}
    path = f"/exec/{exec_id}"
    if args.detach:
        client.call("POST", f"{path}/start", body=start)
        return Exit.OK
    session = Session(
        client=client, path=path, stdin=stdin, tty=args.tty, detach_keys=args.detach_keys
    )
    with client.upgrade(f"{path}/start", body=start) as upgraded:
        left = converse(session, upgraded)
    if left:
        return tell_left()
    return int(client.call("GET", f"{path}/json")["ExitCode"])


def _body(args: Namespace, *, attached: bool, size: tuple[int, int] | None) -> dict[str, Any]:
    return {
        "Cmd": [args.command, *args.arguments],
        "AttachStdin": args.interactive and attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Tty": args.tty,
        "ConsoleSize": size,
        "Env": environment(args.env_file, args.env),
        "User": args.user,
        "WorkingDir": args.workdir,
        "Privileged": args.privileged,
        "DetachKeys": args.detach_keys,
    }
