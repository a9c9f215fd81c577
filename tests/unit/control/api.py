"""The control server over a manager of fakes, and a client that speaks HTTP to it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import socket
import tarfile
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11
import trio

from drivers.log import jsonfile
from drivers.log.base import LogContext, LogDriver
from supervisor.config import DaemonConfig
from supervisor.control import app
from supervisor.control.context import Control
from supervisor.control.router import Route, Router
from supervisor.control.server import Server
from supervisor.shutdown import Shutdown
from supervisor.unit_manager import UnitManager
from tests.fakes.execution import Program
from tests.unit.supervisor.world import World, open_world

READ_BYTES = 65536


@dataclass
class Reply:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Client:
    """One connection. `raw` is for what is no proper HTTP."""

    def __init__(self, raw: trio.SocketStream) -> None:
        self.raw = raw
        self._h11 = h11.Connection(h11.CLIENT)

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """A request, without waiting for its answer."""
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        head = {"Host": "x", "Content-Length": str(len(body)), **(headers or {})}
        request = h11.Request(method=method, target=path, headers=list(head.items()))
        data = self._h11.send(request) or b""
        data += self._h11.send(h11.Data(data=body)) or b""
        await self.raw.send_all(data + (self._h11.send(h11.EndOfMessage()) or b""))

    async def event(self) -> Any:
        """The next event of the answer."""
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.raw.receive_some(READ_BYTES))
        return event

    async def head(self) -> h11.Response:
        """The head of the answer."""
        event = await self.event()
        assert isinstance(event, h11.Response), event
        return event

    async def rest(self) -> bytes:
        """The body, to its end."""
        parts = []
        while isinstance(event := await self.event(), h11.Data):
            parts.append(bytes(event.data))
        assert isinstance(event, h11.EndOfMessage), event
        return b"".join(parts)

    async def reply(self) -> Reply:
        """The whole answer."""
        head = await self.head()
        headers = {k.decode(): v.decode() for k, v in head.headers}
        return Reply(head.status_code, headers, await self.rest())

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Request and answer."""
        await self.send(method, path, body, headers)
        return await self.reply()


@dataclass
class Hijacked:
    """A connection that has become a stream."""

    head: bytes
    raw: trio.SocketStream
    seen: bytes = b""

    async def until(self, end: bytes) -> bytes:
        """What comes up to `end` and with it."""
        while end not in self.seen:
            data = await self.raw.receive_some(READ_BYTES)
            assert data, self.seen
            self.seen += bytes(data)
        cut = self.seen.index(end) + len(end)
        found, self.seen = self.seen[:cut], self.seen[cut:]
        return found

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        while data := await self.raw.receive_some(READ_BYTES):
            self.seen += bytes(data)
        return self.seen


@dataclass
class Site:
    """A server in action."""

    server: Server
    nursery: trio.Nursery

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """A connection of this process to the server."""
        ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(s)) for s in _pair())
        self.nursery.start_soon(self.server.converse, theirs)
        async with ours:
            yield Client(ours)

    @contextlib.asynccontextmanager
    async def hijack(
        self, path: str, body: object = None, *, upgrade: bool = True
    ) -> AsyncIterator[Hijacked]:
        """POST on a connection that the answer makes a stream."""
        data = b"" if body is None else json.dumps(body).encode()
        wanted = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n{wanted}\r\n"
        async with self.connect() as client:
            await client.raw.send_all(head.encode() + data)
            hijacked = Hijacked(b"", client.raw)
            hijacked.head = await hijacked.until(b"\r\n\r\n")
            yield hijacked

    async def ask(self, method: str, path: str, body: object = b"", **query: str) -> Reply:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if query:
            path += "?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())
        async with self.connect() as client:
            return await client.ask(method, path, raw)


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


@contextlib.asynccontextmanager
async def open_site(routes: Iterable[Route]) -> AsyncIterator[Site]:
    """A server of these routes, until the end of the block."""
    async with trio.open_nursery() as nursery:
        yield Site(Server(Router(routes), name="test"), nursery)
        nursery.cancel_scope.cancel()


@dataclass
class Api(Site):
    """Every route of the daemon, over a world of fakes."""

    world: World

    async def create(self, *argv: str, name: str = "", **fields: object) -> str:
        """The id of a container made from the image `box`."""
        reply = await self.ask(
            "POST", f"/containers/create?name={name}", {"Image": "box", "Cmd": argv, **fields}
        )
        assert reply.status == 201, reply.body
        return str(reply.json["Id"])

    async def exec(self, container_id: str, *argv: str, **fields: object) -> str:
        """The id of an exec that attaches its output, not started."""
        body = {"Cmd": argv, "AttachStdout": True, "AttachStderr": True, **fields}
        reply = await self.ask("POST", f"/containers/{container_id}/exec", body)
        assert reply.status == 201, reply.body
        return str(reply.json["Id"])

    async def run(self, *argv: str, name: str = "", **fields: object) -> str:
        """The id of a container that has been started."""
        made = await self.create(*argv, name=name, **fields)
        assert (await self.ask("POST", f"/containers/{made}/start")).status == 204
        return made


def archive(name: str = "file") -> bytes:
    """A root file system of one file, as a tar archive."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return raw.getvalue()


@contextlib.asynccontextmanager
async def open_api(
    directory: Path, scripts: Mapping[tuple[str, ...], Program] | None = None
) -> AsyncIterator[Api]:
    """The API over fakes, with an image `box`; logs are real json-file logs."""
    async with open_world(directory, scripts or {}) as world, trio.open_nursery() as nursery:
        manager = world.manager

        async def open_log(name: str, about: LogContext, options: Mapping[str, str]) -> LogDriver:
            return world.log if name == "memory" else await jsonfile.open_driver(about, options)

        manager.drivers = dataclasses.replace(manager.drivers, open_log=open_log)
        (directory / "spool").mkdir()
        (directory / "units").mkdir()
        control = Control(
            manager=manager,
            units=UnitManager(manager, directory / "units"),
            config=DaemonConfig(root=str(directory)),
            shutdown=Shutdown(),
            daemon_id="id",
            cgroup_version=2,
            spool=directory / "spool",
        )
        api = Api(Server(app.router(control), name="test"), nursery, world)
        made = await api.ask("POST", "/images/create", archive(), fromSrc="-", repo="box")
        assert made.status == 200, made.body
        yield api
        nursery.cancel_scope.cancel()
