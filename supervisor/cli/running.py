"""`run` and `create`."""

from __future__ import annotations

import contextlib
from argparse import Namespace

from supervisor.cli.client import Client
from supervisor.cli.creation import body_of
from supervisor.cli.errors import ApiError, CliError, Exit
from supervisor.cli.output import complain
from supervisor.cli.streams import Session, check_terminal, converse, exit_code_from


def create(client: Client, args: Namespace) -> int:
    """Make a container and print its id."""
    print(_create(client, args, attached=False))
    return Exit.OK


def run(client: Client, args: Namespace) -> int:
    """Make a container and start it; attached, its exit code is ours."""
    if not args.detach:
        check_terminal(tty=args.tty, stdin=args.interactive, detach_keys=args.detach_keys)
    container_id = _create(client, args, attached=not args.detach)
    if args.detach:
        _start(client, container_id)
        print(container_id)
        return Exit.OK
    return _run_attached(client, container_id, args)


def _create(client: Client, args: Namespace, *, attached: bool) -> str:
    query = {"name": args.name or None}
    try:
        made = client.call("POST", "/containers/create", query, body_of(args, attached=attached))
    except ApiError as error:
        if error.status == 404 and "image" in str(error).lower():
            raise CliError(f"{error} (`crechectl load` and `crechectl import` bring images)",
                           code=Exit.DAEMON) from error  # fmt: skip
        raise
    for warning in made["Warnings"]:
        complain(f"warning: {warning}")
    return str(made["Id"])


def _run_attached(client: Client, container_id: str, args: Namespace) -> int:
    """Join the streams and begin to wait before the start, so that nothing is missed."""
    session = Session(
        client=client,
        path=f"/containers/{container_id}",
        stdin=args.interactive,
        tty=args.tty,
        detach_keys=args.detach_keys,
        proxy=not args.no_sig_proxy,
    )
    condition = {"condition": "removed" if args.rm else "next-exit"}
    with contextlib.ExitStack() as held:
        upgraded = held.enter_context(client.upgrade(f"{session.path}/attach", session.query))
        waiting = held.enter_context(client.stream("POST", f"{session.path}/wait", condition))
        _start(client, container_id)
        if converse(session, upgraded):
            return Exit.OK
        return exit_code_from(waiting.read())


def _start(client: Client, container_id: str) -> None:
    try:
        client.call("POST", f"/containers/{container_id}/start")
    except ApiError as error:
        raise CliError(str(error), code=exit_code_of_start(str(error))) from error


def exit_code_of_start(message: str) -> Exit:
    """As the docker command tells apart, by the message, why a command did not start."""
    text = message.lower()
    if "executable file not found" in text or "no such file or directory" in text:
        return Exit.NOT_FOUND
    if "permission denied" in text or "is a directory" in text or "exec format" in text:
        return Exit.NOT_EXECUTABLE
    return Exit.DAEMON
