"""Connections, requests and answers, over real sockets and without a daemon behind them."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import pytest
import trio
from trio.testing import MockClock

from drivers.errors import ConfigError, CorruptData, Forbidden, InvalidRequest
from supervisor.control import auth, connection
from supervisor.control.http import Answer, Hijack, Peer, Request, Response, Stream
from supervisor.control.router import Route, Router, route
from supervisor.control.server import Server, group_id_of, open_socket
from tests.unit.control.api import Client, open_site


async def echo(request: Request) -> Answer:
    return Response(body=await request.read(), content_type="text/plain")


async def unread(request: Request) -> Answer:
    return Response(body=b"unread")


async def fail(request: Request) -> Answer:
    raise InvalidRequest("it is wrong")


async def several(request: Request) -> Answer:
    raise ExceptionGroup("two", [CorruptData("first"), CorruptData("second")])


async def bug(request: Request) -> Answer:
    raise ZeroDivisionError("a bug")


def stream_of(error: Exception | None) -> Stream:
    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        if error is not None:
            raise error
        yield b"two"

    return Stream(body=body())


async def stream(request: Request) -> Answer:
    return stream_of(None)


async def stream_fails(request: Request) -> Answer:
    return stream_of(CorruptData("it is damaged"))


async def stream_bug(request: Request) -> Answer:
    return stream_of(ZeroDivisionError("a bug"))


async def one_piece(request: Request) -> Answer:
    async def body() -> AsyncIterator[bytes]:
        yield b"all"
        await trio.sleep(0.1)  # what it has to see to yet keeps nobody waiting

    return Stream(body=body(), is_one_piece=True)


async def raw(request: Request) -> Answer:
    async def run(stream: trio.SocketStream, first: bytes) -> None:
        await stream.send_all(b"<" + first + bytes(await stream.receive_some(100)) + b">")

    return Hijack(run=run)


def routes() -> list[Route]:
    handlers = [echo, unread, fail, several, bug, stream, stream_fails, stream_bug]
    handlers += [one_piece, raw]
    return [
        route(method, f"/{handler.__name__}", handler)
        for handler in handlers
        for method in ("GET", "POST")
    ]


async def everything(client: Client) -> bytes:
    """What the server sends before it closes."""
    parts = []
    while data := await client.raw.receive_some(65536):
        parts.append(bytes(data))
    return b"".join(parts)


async def test_requests_follow_one_another_on_a_connection() -> None:
    async with open_site(routes()) as site, site.connect() as client:
        for body in (b"first", b"", b"third"):
            reply = await client.ask("POST", "/echo", body)
            assert (reply.status, reply.body) == (200, body)
        assert (await client.ask("POST", "/unread", b"x" * 300_000)).body == b"unread"
        assert (await client.ask("GET", "/stream")).body == b"onetwo"
        assert (await client.ask("GET", "/nothing")).status == 404


async def test_every_answer_says_which_api_it_is() -> None:
    async with open_site(routes()) as site:
        headers = (await site.ask("GET", "/fail")).headers
    assert headers["api-version"] == "1.50"
    assert headers["ostype"] == "linux"
    assert headers["server"] == "test"


async def test_a_client_that_asks_to_go_on_is_told_to() -> None:
    async with open_site(routes()) as site, site.connect() as client:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
        await client.raw.send_all(head + b"\r\n")
        assert await client.raw.receive_some(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.raw.send_all(b"ok")
        assert (await client.raw.receive_some(65536)).endswith(b"\r\n\r\nok")


async def test_a_client_that_waits_to_go_on_in_vain_is_let_go() -> None:
    async with open_site(routes()) as site, site.connect() as client:
        head = b"POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
        await client.raw.send_all(head + b"\r\n")
        answer = await everything(client)
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"unread")


async def test_the_body_may_come_in_chunks() -> None:
    async with open_site(routes()) as site, site.connect() as client:
        await client.raw.send_all(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert (await everything(client)).endswith(b"\r\n\r\nabcde")


@pytest.mark.parametrize("path", ["/unread", "/stream", "/fail"])
async def test_a_head_request_gets_no_body(path: str) -> None:
    async with open_site(routes()) as site, site.connect() as client:
        request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await client.raw.send_all(request.encode())
        answer = await everything(client)
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer.endswith(b"\r\n\r\n")


async def test_clients_of_http_1_0_are_answered_without_chunks() -> None:
    async with open_site(routes()) as site, site.connect() as client:
        await client.raw.send_all(b"GET /stream HTTP/1.0\r\n\r\n")
        answer = await everything(client)
    assert b"chunked" not in answer
    assert answer.endswith(b"\r\n\r\nonetwo")


async def test_the_end_of_an_answer_comes_with_its_only_piece() -> None:
    async with open_site(routes()) as site, site.connect() as client:
        await client.raw.send_all(b"GET /one_piece HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b"all" not in received:
            received += bytes(await client.raw.receive_some(65536))
        assert received.endswith(b"\r\n\r\n3\r\nall\r\n0\r\n\r\n")
        assert (await client.ask("POST", "/echo", b"next")).body == b"next"


async def test_failures_are_told_in_dockers_form() -> None:
    async with open_site(routes()) as site:
        reply = await site.ask("GET", "/fail")
        assert (reply.status, reply.json) == (400, {"message": "it is wrong"})
        reply = await site.ask("GET", "/several")
        assert (reply.status, reply.json) == (500, {"message": "first"})


async def test_a_bug_is_logged_in_full_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_site(routes()) as site:
        reply = await site.ask("GET", "/bug")
        assert reply.status == 500
        assert "ZeroDivisionError" in reply.message
        assert (await site.ask("POST", "/echo", b"on")).body == b"on"
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("path", ["/stream_fails", "/stream_bug"])
async def test_a_stream_that_fails_is_cut_off_and_the_server_goes_on(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_site(routes()) as site, site.connect() as client:
        await client.send("GET", path)
        assert (await client.head()).status_code == 200
        with pytest.raises(h11.RemoteProtocolError):  # its end is missing
            await client.rest()
        assert (await site.ask("POST", "/echo", b"on")).body == b"on"
    assert "control.cut_off" in caplog.text or "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "upgrade", [b"Connection: Upgrade\r\nUpgrade: tcp\r\n", b"", b"Upgrade:\r\n"]
)
async def test_a_connection_can_become_a_plain_stream(upgrade: bytes) -> None:
    async with open_site(routes()) as site, site.connect() as client:
        await client.raw.send_all(b"POST /raw HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\nahead")
        head = bytes(await client.raw.receive_some(65536))  # a write of its own
        assert head.endswith(b"\r\n\r\n")
        status = b"101 Switching Protocols" if b"tcp" in upgrade else b"200 OK"
        assert head.startswith(b"HTTP/1.1 " + status)
        await client.raw.send_all(b", after")
        assert await everything(client) == b"<ahead, after>"


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000,
        b"GET x:y HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"GET /echo HTTP/2.0\r\nHost: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_what_is_no_http_is_a_400_and_the_end(request_: bytes) -> None:
    async with open_site(routes()) as site, site.connect() as client:
        await client.raw.send_all(request_)
        assert b"HTTP/1.1 400 " in await everything(client)


@pytest.mark.parametrize("target", ["//[", "/%ff%00", "/v1.99999999999999/echo", "*"])
async def test_a_target_that_is_none_of_ours_is_not_found(target: str) -> None:
    async with open_site(routes()) as site:
        assert (await site.ask("GET", target)).status == 404


async def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async with open_site(routes()) as site, site.connect() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, "POST", "/echo", b" " * (5 * 1024 * 1024))
            reply = await client.reply()
        assert reply.status == 413
        assert reply.message == "request body is larger than 4194304 bytes"
        assert (await client.ask("POST", "/echo", b"on")).body == b"on"


async def test_a_body_that_nobody_wants_and_never_ends_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SKIPPED_BYTES", 100_000)
    head = b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    async with open_site(routes()) as site, site.connect() as client:
        await client.raw.send_all(head)
        with pytest.raises(trio.BrokenResourceError):
            await client.raw.send_all(chunk * 1000)


@pytest.mark.parametrize(
    ("sent", "limit_s"),
    [
        (b"", connection.IDLE_S),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", connection.BODY_S),
    ],
)
async def test_a_client_that_says_no_more_is_let_go(
    sent: bytes, limit_s: float, autojump_clock: MockClock
) -> None:
    async with open_site(routes()) as site, site.connect() as client:
        await client.raw.send_all(sent)
        started = trio.current_time()
        assert await everything(client) == b""
        assert trio.current_time() - started == pytest.approx(limit_s)


async def test_a_peer_without_permission_reaches_no_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auth, "peer_of", lambda sock: Peer(1, 65534, 65534))
    async with open_site(routes()) as site:
        reply = await site.ask("GET", "/bug")
    assert reply.status == 403
    assert "user 65534 is neither root" in reply.message


def test_root_the_daemons_user_and_members_of_the_group_may() -> None:
    auth.check(Peer(1, 0, 0), None)
    auth.check(Peer(1, os.geteuid(), 7), None)
    auth.check(Peer(1, 1000, 50), 50)
    auth.check(Peer(1, 1000, 1000, (4, 50)), 50)
    for peer, group in ((Peer(1, 1000, 50), None), (Peer(1, 1000, 1000, (4,)), 50)):
        with pytest.raises(Forbidden):
            auth.check(peer, group)


def test_a_peer_is_known_by_its_socket() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = auth.peer_of(ours)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
    assert set(peer.groups) == set(os.getgroups())


async def test_the_socket_is_private_or_its_groups(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with open_socket(path, None):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with open_socket(path, 50):  # in place of the stale one
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, 50)
    assert os.listdir(tmp_path) == ["s"]


async def test_a_socket_in_use_is_left_to_its_daemon(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with open_socket(path, None):
        with pytest.raises(ConfigError, match="a daemon listens there already"):
            open_socket(path, None)
        await (await trio.open_unix_socket(path)).aclose()


def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        open_socket(path, None)
    assert path.read_text() == "precious"
    with pytest.raises(ConfigError, match="cannot listen at"):
        open_socket(tmp_path / "missing" / "s", None)


def test_the_group_of_the_socket_must_exist() -> None:
    assert group_id_of("") is None
    assert group_id_of("root") == 0
    with pytest.raises(ConfigError, match="there is no group 'nobody-here'"):
        group_id_of("nobody-here")


async def test_connections_are_accepted_until_the_server_is_cancelled(tmp_path: Path) -> None:
    server = Server(Router(routes()), name="test")
    async with open_socket(tmp_path / "s", None) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listener)
        for _ in range(3):
            async with await trio.open_unix_socket(tmp_path / "s") as stream:
                reply = await Client(stream).ask("POST", "/echo", b"hello")
                assert reply.body == b"hello"
        nursery.cancel_scope.cancel()
