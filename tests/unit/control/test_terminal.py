"""Terminals of containers through the Engine API, over fakes that have real ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.execution import Process, exits
from tests.unit.control.api import Api, Hijacked, open_api

ALL = "stream=1&stdin=1&stdout=1&stderr=1"
TTY = {"Tty": True, "OpenStdin": True, "StdinOnce": True}


async def shell(process: Process) -> int:
    """Answers each line, `size` with that of the terminal; `exit` ends it."""
    while (line := await process.read_line()) != b"exit\n":
        if line == b"size\n":
            columns, rows = os.get_terminal_size(process.stdin)
            line = f"{rows}x{columns}\n".encode()
        process.write(b"< " + line)
    return 5


async def reopening(process: Process) -> int:
    """Has its terminal closed for a while, then writes to it again."""
    path = os.ttyname(process.stdin)
    for fd in (process.stdin, process.stdout, process.stderr):
        os.close(fd)
    await trio.sleep(0.05)
    for fd in (process.stdin, process.stdout, process.stderr):
        opened = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if opened != fd:
            os.dup2(opened, fd, inheritable=False)
            os.close(opened)
    process.write(b"again\n")
    return 0


SCRIPTS = {
    ("shell",): shell,
    ("reopen",): reopening,
    ("write",): exits(0, stdout=b"out\n", stderr=b"err\n"),
    ("flood",): exits(0, stdout=b"x" * 3000),
}


async def started(api: Api, *argv: str, **fields: Any) -> str:
    return await api.run(*argv, name="term", **{**TTY, **fields})


async def asks(client: Hijacked, line: bytes) -> bytes:
    """Type a line; its echo and the answer."""
    await client.raw.send_all(line + b"\r")
    await client.until(line + b"\r\n")
    return await client.until(b"\r\n")


async def test_attaching_is_raw_echoes_and_ends_with_the_container(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell")
        async with api.hijack(f"/containers/term/attach?{ALL}") as client:
            assert b"application/vnd.docker.raw-stream" in client.head
            assert await asks(client, b"hello") == b"< hello\r\n"
            await client.raw.send_all(b"exit\r")
            assert await client.rest() == b"exit\r\n"
        container = api.world.manager.find("term")
        await container.at_rest()
        assert container.record.exit_code == 5


async def test_all_that_is_written_is_one_raw_stream_of_the_log(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        config = {"LogConfig": {"Type": "json-file"}}
        await started(api, "write", HostConfig=config)
        await api.world.manager.find("term").at_rest()
        reply = await api.ask("GET", "/containers/term/logs?stdout=1&stderr=1")
        assert reply.headers["content-type"] == "application/vnd.docker.raw-stream"
        assert reply.body == b"out\r\nerr\r\n"
        async with api.hijack("/containers/term/attach?logs=1&stdout=1&stderr=1") as client:
            assert await client.rest() == b"out\r\nerr\r\n"


async def test_what_was_written_before_the_end_is_not_lost(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        made = await api.create("flood", **TTY)
        async with api.hijack(f"/containers/{made}/attach?{ALL}") as client:
            await api.ask("POST", f"/containers/{made}/start")
            assert await client.rest() == b"x" * 3000


async def test_a_terminal_may_be_closed_and_opened_again(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        made = await api.create("reopen", **TTY)
        async with api.hijack(f"/containers/{made}/attach?{ALL}") as client:
            await api.ask("POST", f"/containers/{made}/start")
            assert await client.rest() == b"again\r\n"


async def test_without_standard_input_nothing_that_is_typed_arrives(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell", OpenStdin=False)
        async with api.hijack(f"/containers/term/attach?{ALL}") as client:
            await client.raw.send_all(b"hello\r\x10\x11")
            with trio.move_on_after(0.05):
                await client.until(b"hello")
            assert client.seen == b""


async def test_the_size_is_that_at_creation_then_the_newest(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell", HostConfig={"ConsoleSize": [33, 77]})
        async with api.hijack(f"/containers/term/attach?{ALL}") as client:
            assert await asks(client, b"size") == b"< 33x77\r\n"
            reply = await api.ask("POST", "/containers/term/resize", h="40", w="90")
            assert reply.status == 200
            assert await asks(client, b"size") == b"< 40x90\r\n"
        shown = (await api.ask("GET", "/containers/term/json")).json
        assert shown["HostConfig"]["ConsoleSize"] == [33, 77]
        assert shown["Config"]["Tty"] is True
        event = api.world.manager.events.history(since_ns=0)[-1]
        assert event.action == "resize"
        assert event.attributes.items() >= {"height": "40", "width": "90"}.items()


async def test_a_size_that_comes_before_the_start_holds_from_the_start(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        made = await api.create("shell", **TTY)
        await api.ask("POST", f"/containers/{made}/resize", h="12", w="34")
        await api.ask("POST", f"/containers/{made}/start")
        async with api.hijack(f"/containers/{made}/attach?{ALL}") as client:
            assert await asks(client, b"size") == b"< 12x34\r\n"


@pytest.mark.parametrize("query", ["h=a&w=1", "h=1", "", "h=-1&w=1", "h=1&w=70000"])
async def test_a_size_that_makes_no_sense_is_a_400(tmp_path: Path, query: str) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell")
        assert (await api.ask("POST", f"/containers/term/resize?{query}")).status == 400
        body = {"Image": "box", "Cmd": ["shell"], "HostConfig": {"ConsoleSize": [-1, 5]}}
        assert (await api.ask("POST", "/containers/create", body)).status == 400


@pytest.mark.parametrize(("keys", "typed"), [("", b"\x10\x11"), ("&detachKeys=ctrl-a,b", b"\x01b")])
async def test_the_keys_detach_and_the_container_goes_on(
    tmp_path: Path, keys: str, typed: bytes
) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell")
        async with api.hijack(f"/containers/term/attach?{ALL}{keys}") as client:
            await asks(client, b"hello")
            await client.raw.send_all(typed)
            await client.rest()
        assert api.world.manager.events.history(since_ns=0)[-1].action == "detach"
        async with api.hijack(f"/containers/term/attach?{ALL}") as client:
            assert await asks(client, b"still there") == b"< still there\r\n"


async def test_a_client_that_hangs_up_leaves_the_terminal_open(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell")
        for _ in range(2):
            async with api.hijack(f"/containers/term/attach?{ALL}") as client:
                assert await asks(client, b"hello") == b"< hello\r\n"
        async with api.hijack(f"/containers/term/attach?{ALL}") as client:
            await client.raw.send_eof()
            assert await client.rest() == b""  # who types no more has left
        assert api.world.manager.find("term").is_up


@pytest.mark.parametrize("keys", ["ctrl-1", "abc", ",", "ctrl-A", "ctrl-", "é"])
async def test_keys_that_there_are_not_are_a_400(tmp_path: Path, keys: str) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell")
        reply = await api.ask("POST", "/containers/term/attach", stream="1", detachKeys=keys)
        assert (reply.status, reply.message) == (400, f"Invalid detach keys ({keys}) provided")


async def test_the_environment_names_a_terminal_unless_it_says_otherwise(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await started(api, "shell")
        await api.run("shell", **TTY, Env=["TERM=vt100"])
        await api.run("shell", OpenStdin=True)
        terms = [
            [item for item in command.env if item.startswith("TERM=")]
            for command in api.world.execution.commands
        ]
        assert terms == [["TERM=xterm"], ["TERM=vt100"], []]


async def test_a_terminal_is_there_again_after_a_restart_and_nothing_is_left(
    tmp_path: Path,
) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        made = await api.create("shell", **TTY)
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(2):
            await api.ask("POST", f"/containers/{made}/start")
            async with api.hijack(f"/containers/{made}/attach?{ALL}") as client:
                assert await asks(client, b"hello") == b"< hello\r\n"
            await api.ask("POST", f"/containers/{made}/stop?t=0")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(os.listdir("/proc/self/fd")) == before
