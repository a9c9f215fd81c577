"""Docker's verbs for images: images, load, import, tag, rmi."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from supervisor.cli.client import Client, image_part
from supervisor.cli.containers import filters_of, for_each
from supervisor.cli.errors import CliError, Exit
from supervisor.cli.output import age, show_json, show_table, size_text
from supervisor.cli.progress import chunks

_ID_DIGITS = 12


def images(client: Client, args: Namespace) -> int:
    """List images, a line for each name."""
    found: list[dict[str, Any]] = client.call(
        "GET", "/images/json", {"filters": filters_of(args.filter)}
    )
    if args.json:
        show_json(found)
    elif args.quiet:
        for image in found:
            print(_shown_id(image["Id"], full=args.no_trunc))
    else:
        rows = [_row(image, name, args) for image in found for name in image["RepoTags"]]
        show_table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], rows)
    return Exit.OK


def _row(image: dict[str, Any], name: str, args: Namespace) -> list[str]:
    repository, _, tag_ = name.rpartition(":")
    return [
        repository,
        tag_,
        _shown_id(image["Id"], full=args.no_trunc),
        age(image["Created"]) if image["Created"] else "N/A",
        size_text(image["Size"]),
    ]


def _shown_id(image_id: str, *, full: bool) -> str:
    return image_id if full else image_id.removeprefix("sha256:")[:_ID_DIGITS]


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """A file to send, `-` for standard input, and its size if that is known. Raises CliError."""
    if path == "-" and sys.stdin.isatty():
        raise CliError("an archive is expected: name a file, or pipe one in", code=Exit.USAGE)
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
            found = os.fstat(file.fileno())
            yield file, found.st_size if stat.S_ISREG(found.st_mode) else None
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CliError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error


def _send(
    client: Client, file: str, target: str, query: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """Upload a file; yields the objects that the daemon answers. Raises CliError."""
    with _opened(file) as (opened, total_bytes):
        body = chunks(opened, f"send {file}", total_bytes)
        with client.stream("POST", target, query, body) as response:
            for line in response:
                said = json.loads(line)
                if "error" in said:
                    raise CliError(said["error"])
                yield said


def load(client: Client, args: Namespace) -> int:
    """Take images from an archive."""
    for said in _send(client, args.input, "/images/load", {"quiet": True}):
        print(said.get("stream", ""), end="")
    return Exit.OK


def import_(client: Client, args: Namespace) -> int:
    """Make an image of the tar of a root file system; prints its id."""
    query = {
        "fromSrc": "-",
        "repo": args.name,
        "message": args.message or None,
        "changes": args.change,
    }
    for said in _send(client, args.file, "/images/create", query):
        print(said.get("status", ""))
    return Exit.OK


def tag(client: Client, args: Namespace) -> int:
    """Give an image one more name."""
    client.call("POST", f"/images/{image_part(args.image)}/tag", {"repo": args.name})
    return Exit.OK


def rmi(client: Client, args: Namespace) -> int:
    """Remove images."""

    def one(name: str) -> None:
        removed = client.call("DELETE", f"/images/{image_part(name)}", {"force": args.force})
        for item in removed:
            for word, what in item.items():
                print(f"{word}: {what}")

    return for_each(args.names, one)
