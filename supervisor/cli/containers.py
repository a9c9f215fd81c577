"""Docker's verbs for containers that are there: ps, inspect, rename, rm, kill, pause, wait."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from supervisor.cli.client import Client, image_part, part
from supervisor.cli.errors import ApiError, CliError, Exit, Unreachable
from supervisor.cli.output import age, complain, show_json, show_table
from supervisor.cli.progress import busy

_COMMAND_CHARACTERS = 20
_ID_DIGITS = 12


def filters_of(items: list[str]) -> str | None:
    """`--filter NAME=VALUE ...` as the API takes it. Raises CliError."""
    found: dict[str, list[str]] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise CliError(f"--filter {item}: not NAME=VALUE", code=Exit.USAGE)
        found.setdefault(name, []).append(value)
    return json.dumps(found) if found else None


def ps(client: Client, args: Namespace) -> int:
    """List containers."""
    query = {"all": args.all, "filters": filters_of(args.filter)}
    containers: list[dict[str, Any]] = client.call("GET", "/containers/json", query)
    digits = None if args.no_trunc else _ID_DIGITS
    if args.json:
        show_json(containers)
    elif args.quiet:
        for container in containers:
            print(container["Id"][:digits])
    else:
        columns = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"]
        show_table(columns, [_row(c, digits, full=args.no_trunc) for c in containers])
    return Exit.OK


def _row(container: dict[str, Any], digits: int | None, *, full: bool) -> list[str]:
    command = container["Command"]
    if not full and len(command) > _COMMAND_CHARACTERS:
        command = command[: _COMMAND_CHARACTERS - 1] + "…"
    return [
        container["Id"][:digits],
        container["Image"],
        json.dumps(command, ensure_ascii=False),
        age(container["Created"]),
        container["Status"],
        ",".join(name.removeprefix("/") for name in container["Names"]),
    ]


def for_each(names: list[str], act: Callable[[str], object]) -> int:
    """Do it for every name; a failure is told and the others still have their turn."""
    code: int = Exit.OK
    for name in names:
        try:
            act(name)
        except Unreachable:
            raise
        except CliError as error:
            complain(str(error))
            code = Exit.FAILED
    return code


def inspect(client: Client, args: Namespace) -> int:
    """All of containers and images, as one JSON list."""
    found: list[object] = []
    code = for_each(args.names, lambda name: found.append(_look_up(client, name, args.type)))
    show_json(found)
    return code


def _look_up(client: Client, name: str, kind: str | None) -> object:
    if kind != "image":
        try:
            return client.call("GET", f"/containers/{part(name)}/json")
        except ApiError as error:
            if kind == "container" or error.status != 404:
                raise
    try:
        return client.call("GET", f"/images/{image_part(name)}/json")
    except ApiError as error:
        if kind == "image" or error.status != 404:
            raise
        raise CliError(f"no such container or image: {name}") from error


def rename(client: Client, args: Namespace) -> int:
    """Give a container another name."""
    client.call("POST", f"/containers/{part(args.old)}/rename", {"name": args.new})
    return Exit.OK


def rm(client: Client, args: Namespace) -> int:
    """Remove containers."""

    def one(name: str) -> None:
        with busy(f"remove {name} ..."):
            try:
                client.call("DELETE", f"/containers/{part(name)}", {"force": args.force})
            except ApiError as error:
                if not (args.force and error.status == HTTPStatus.NOT_FOUND):
                    raise
                complain(str(error))  # told, and yet what was asked for, as it is to docker
                return
        print(name)

    return for_each(args.names, one)


def kill(client: Client, args: Namespace) -> int:
    """Send a signal to containers."""

    def one(name: str) -> None:
        client.call("POST", f"/containers/{part(name)}/kill", {"signal": args.signal})
        print(name)

    return for_each(args.names, one)


def wait(client: Client, args: Namespace) -> int:
    """Print the exit code of each container once it has ended."""

    def one(name: str) -> None:
        print(client.call("POST", f"/containers/{part(name)}/wait")["StatusCode"], flush=True)

    return for_each(args.names, one)


def pause(client: Client, args: Namespace) -> int:
    """Stop every process of containers where it is."""
    return _post_each(client, args.names, "pause")


def unpause(client: Client, args: Namespace) -> int:
    """Let paused containers go on."""
    return _post_each(client, args.names, "unpause")


def _post_each(client: Client, names: list[str], verb: str) -> int:
    def one(name: str) -> None:
        client.call("POST", f"/containers/{part(name)}/{verb}")
        print(name)

    return for_each(names, one)
