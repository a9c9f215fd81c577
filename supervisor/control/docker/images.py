"""Images: list, inspect, load, import, tag, remove."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, BinaryIO, cast

import msgspec
import trio

from drivers.errors import CrecheError, InvalidRequest, NotImplementedYet, from_os_error
from supervisor.control.context import Control
from supervisor.control.docker.pruning import PRUNE_FILTERS, may_go
from supervisor.control.docker.values import NEVER, answer, has_labels, parse_filters, parse_until
from supervisor.control.http import Answer, Request, Response
from supervisor.control.router import Route, route
from supervisor.images.config import ContainerConfig
from supervisor.images.image import Image
from supervisor.images.reference import parse
from supervisor.images.store import Removed

_FILTERS = frozenset({"reference", "label", "dangling", "before", "since", "until"})
_NS = 1_000_000_000


class _RawImage(msgspec.Struct):
    """The part of an image's own JSON that is shown as it is."""

    config: dict[str, Any] | None = None


def routes(control: Control) -> list[Route]:
    """Every route of this resource."""
    table = [
        ("GET", "/images/json", list_images),
        ("POST", "/images/load", load),
        ("POST", "/images/create", create),
        ("POST", "/images/prune", prune),
        ("GET", "/images/{name:path}/json", inspect),
        ("GET", "/images/{name:path}/history", history),
        ("POST", "/images/{name:path}/tag", tag),
        ("DELETE", "/images/{name:path}", remove),
    ]
    return [route(method, path, partial(handler, control)) for method, path, handler in table]


def _created_s(image: Image) -> int:
    if not image.parsed.created:
        return 0
    try:
        return int(datetime.fromisoformat(image.parsed.created).timestamp())
    except ValueError:
        return 0


async def list_images(control: Control, request: Request) -> Answer:
    """GET /images/json"""
    filters = parse_filters(request, _FILTERS)
    users = _users(control)
    return answer(
        [
            {**listed_image(image), "Containers": users.count(image.id)}
            for image in control.manager.images.images()
            if _matches(control, image, filters)
        ]
    )


def listed_image(image: Image) -> dict[str, Any]:
    """The line of one image."""
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": list(image.names) or ["<none>:<none>"],
        "RepoDigests": [],
        "Created": _created_s(image),
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "SharedSize": -1,
        "Labels": image.config.labels,
    }


def _users(control: Control) -> list[str]:
    return [container.spec.image_id for container in control.manager.all()]


def _matches(control: Control, image: Image, filters: dict[str, list[str]]) -> bool:
    store = control.manager.images
    if not has_labels(image.config.labels or {}, filters.get("label", [])):
        return False
    for value in filters.get("dangling", ()):
        if (value in ("1", "true")) != (not image.names):
            return False
    references = filters.get("reference", [])
    if references and not any(_is_named(image, pattern) for pattern in references):
        return False
    if any(_created_s(image) * _NS >= parse_until(text) for text in filters.get("until", ())):
        return False
    for value in filters.get("before", ()):
        if _created_s(image) >= _created_s(store.find(value)):
            return False
    return all(_created_s(image) > _created_s(store.find(v)) for v in filters.get("since", ()))


def _is_named(image: Image, pattern: str) -> bool:
    """Whether a name fits `repository[:tag]`, in which * stands for anything."""
    bare = [name.rpartition(":")[0] for name in image.names]
    return any(fnmatchcase(name, pattern) for name in (*image.names, *bare))


async def inspect(control: Control, request: Request) -> Answer:
    """GET /images/{name}/json"""
    image = control.manager.images.find(request.parameters["name"])
    parsed = image.parsed
    storage = control.manager.drivers.storage
    graph: Mapping[str, str] = {}
    if image.top_layer:
        graph = await trio.to_thread.run_sync(storage.metadata, image.top_layer)
    return answer(
        {
            "Id": image.id,
            "RepoTags": list(image.names),
            "RepoDigests": [],
            "Parent": "",
            "Comment": parsed.comment,
            "Created": parsed.created or NEVER,
            "DockerVersion": "",
            "Author": parsed.author,
            "Config": msgspec.json.decode(image.raw, type=_RawImage).config or {},
            "Architecture": parsed.architecture,
            "Variant": parsed.variant,
            "Os": parsed.os,
            "Size": image.size_bytes,
            "VirtualSize": image.size_bytes,
            "GraphDriver": {"Name": storage.name, "Data": dict(graph)},
            "RootFS": {"Type": "layers", "Layers": parsed.rootfs.diff_ids},
            "Metadata": {"LastTagTime": NEVER},
        }
    )


async def history(control: Control, request: Request) -> Answer:
    """GET /images/{name}/history"""
    image = control.manager.images.find(request.parameters["name"])
    steps = image.parsed.history or []
    layers = iter(image.layer_bytes)
    sizes = [0 if step.get("empty_layer") else next(layers, 0) for step in steps]
    entries = [
        {
            "Id": image.id if number == 0 else "<missing>",
            "Created": _created_s(image),
            "CreatedBy": str(entry.get("created_by", "")),
            "Tags": list(image.names) if number == 0 else None,
            "Size": size,
            "Comment": str(entry.get("comment", "")),
        }
        for number, (entry, size) in enumerate(zip(reversed(steps), reversed(sizes), strict=True))
    ]
    return answer(entries)


@contextlib.asynccontextmanager
async def _spooled(control: Control, parts: AsyncIterator[bytes]) -> AsyncIterator[BinaryIO]:
    """An upload as an unnamed file below the daemon's root: gone with its descriptor."""
    with contextlib.ExitStack() as held:
        try:
            opened = await trio.to_thread.run_sync(
                partial(tempfile.TemporaryFile, dir=control.spool)
            )
            file = cast(BinaryIO, opened)
            held.callback(_close, file)
            async for part in parts:
                await trio.to_thread.run_sync(file.write, part)
            await trio.to_thread.run_sync(file.seek, 0)
        except OSError as error:
            raise from_os_error(error, "receive image archive") from error
        yield file


def _close(file: BinaryIO) -> None:
    """What was not written because the disk is full is tried again, in vain; it is closed."""
    with contextlib.suppress(OSError):
        file.close()


async def load(control: Control, request: Request) -> Answer:
    """POST /images/load"""
    async with _spooled(control, request.body) as file:
        loaded = await control.manager.images.load(file)
    for name in loaded:
        image = control.manager.images.find(name)
        control.manager.events.publish("image", "load", image.id, {"name": name})
    lines = [
        {"stream": f"Loaded image{' ID' if name.startswith('sha256:') else ''}: {name}\n"}
        for name in loaded
    ]
    return Response(body=b"".join(msgspec.json.encode(line) + b"\r\n" for line in lines))


async def create(control: Control, request: Request) -> Answer:
    """POST /images/create: import from the body; pulling comes later."""
    if request.get("fromImage"):
        raise NotImplementedYet(
            f"pulling images ({request.get('fromImage')}) is not implemented yet: "
            "use `docker load` or `docker import`"
        )
    if request.get("fromSrc") != "-":
        raise NotImplementedYet("importing from a URL is not implemented yet: import a file or -")
    name = request.get("repo")
    if name and request.get("tag"):
        name += f":{request.get('tag')}"
    config = _changed(ContainerConfig(), request.query.get("changes", []))
    async with _spooled(control, request.body) as file:
        image = await control.manager.images.import_rootfs(
            file, name, message=request.get("message") or "Imported from -", config=config
        )
    control.manager.events.publish("image", "import", image.id, {"name": name or image.id})
    return Response(body=msgspec.json.encode({"status": image.id}) + b"\r\n")


def _changed(config: ContainerConfig, lines: list[str]) -> ContainerConfig:
    """`--change`: a few of the instructions of a Dockerfile. Raises InvalidRequest."""
    fields: dict[str, Any] = {"env": [], "labels": {}}
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        match word.upper():
            case "CMD":
                fields["cmd"] = _command(rest)
            case "ENTRYPOINT":
                fields["entrypoint"] = _command(rest)
            case "ENV":
                fields["env"] += _words(rest) if "=" in rest else ["=".join(rest.split(None, 1))]
            case "USER":
                fields["user"] = rest
            case "WORKDIR":
                fields["working_dir"] = rest
            case "STOPSIGNAL":
                fields["stop_signal"] = rest
            case "LABEL":
                fields["labels"] |= dict(i.partition("=")[::2] for i in _words(rest))
            case _:
                raise InvalidRequest(f"{word} is not a valid change command", field="changes")
    return msgspec.structs.replace(config, **{k: v or None for k, v in fields.items()})


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r}: {error}", field="changes") from error


def _command(text: str) -> list[str]:
    try:
        return msgspec.json.decode(text.encode(), type=list[str])
    except msgspec.DecodeError:
        return ["/bin/sh", "-c", text]


async def tag(control: Control, request: Request) -> Answer:
    """POST /images/{name}/tag"""
    name = request.get("repo")
    if request.get("tag"):
        name += f":{request.get('tag')}"
    image = await control.manager.images.tag(request.parameters["name"], name)
    control.manager.events.publish("image", "tag", image.id, {"name": parse(name).tagged})
    return Response(status=201)


async def remove(control: Control, request: Request) -> Answer:
    """DELETE /images/{name}"""
    image = control.manager.images.find(request.parameters["name"])
    done = await control.manager.images.remove(
        request.parameters["name"], force=request.flag("force"), used=_users(control)
    )
    _announce(control, image, done)
    return answer(done)


def _announce(control: Control, image: Image, done: list[Removed]) -> None:
    """Tell of what was removed; layers have no events."""
    for removed in done:
        if removed.untagged is not msgspec.UNSET:
            name = str(removed.untagged)
            control.manager.events.publish("image", "untag", image.id, {"name": name})
        elif removed.deleted == image.id:
            control.manager.events.publish("image", "delete", image.id, {"name": image.id})


async def prune(control: Control, request: Request) -> Answer:
    """POST /images/prune: what has no name, or with dangling=false what no container has."""
    filters = parse_filters(request, PRUNE_FILTERS | {"dangling"})
    everything = filters.get("dangling") in (["false"], ["0"])
    done: list[Removed] = []
    reclaimed = 0
    for image in control.manager.images.images():
        created_ns = _created_s(image) * _NS
        if image.names and not everything:
            continue
        if not may_go(image.config.labels or {}, created_ns, filters):
            continue
        try:
            removed = await control.manager.images.remove(
                image.id, force=True, used=_users(control)
            )
        except CrecheError:
            continue  # a container has it, or somebody else removed it
        _announce(control, image, removed)
        done += removed
        reclaimed += image.size_bytes
    return answer({"ImagesDeleted": done or None, "SpaceReclaimed": reclaimed})
