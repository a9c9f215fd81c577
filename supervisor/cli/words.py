"""What the shells complete: names, one a line; nothing if the daemon does not answer."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable

from supervisor.cli.client import Client
from supervisor.cli.errors import CliError, Exit
from supervisor.cli.processes import full_name


def _processes(client: Client) -> Iterable[str]:
    processes = client.rpc("getAllProcessInfo")
    groups = {f"{p['group']}:*" for p in processes if p["group"] != p["name"]}
    return {full_name(p) for p in processes} | groups


def _groups(client: Client) -> Iterable[str]:
    return {process["group"] for process in client.rpc("getAllConfigInfo")}


def _containers(client: Client) -> Iterable[str]:
    containers = client.call("GET", "/containers/json", {"all": True})
    return [name.removeprefix("/") for c in containers for name in c["Names"]]


def _images(client: Client) -> Iterable[str]:
    return [name for image in client.call("GET", "/images/json") for name in image["RepoTags"]]


_KINDS: dict[str, Callable[[Client], Iterable[str]]] = {
    "processes": _processes,
    "groups": _groups,
    "containers": _containers,
    "images": _images,
}


def words(client: Client, args: Namespace) -> int:
    """Print the names of a kind."""
    try:
        found = sorted(_KINDS[args.kind](client))
    except CliError:
        return Exit.FAILED
    print("\n".join(found))
    return Exit.OK
