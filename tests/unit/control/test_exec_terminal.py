"""Terminals of execs through the Engine API, over fakes."""

from __future__ import annotations

from pathlib import Path

from supervisor.control.docker.frames import frame
from tests.unit.control.api import open_api
from tests.unit.control.execs import SCRIPTS, STDIN, ended, exec_in, told


async def test_a_terminal_is_raw_and_has_the_size_that_is_asked_for(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "size", Tty=True, ConsoleSize=[11, 22], **STDIN)
        start = {"Tty": True, "ConsoleSize": [33, 44]}
        async with api.hijack(f"/exec/{exec_id}/start", start) as client:
            assert await client.until(b"\n") == b"33x44\r\n"
            reply = await api.ask("POST", f"/exec/{exec_id}/resize", h="5", w="6")
            assert reply.status == 200
            await client.raw.send_all(b"\r")
            await client.until(b"5x6\r\n")


async def test_a_size_may_come_before_the_start_and_not_after_the_end(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "size", Tty=True)
        path = f"/exec/{exec_id}/resize"
        assert (await api.ask("POST", path, h="7", w="8")).status == 200
        async with api.hijack(f"/exec/{exec_id}/start", {"Tty": True}) as client:
            assert await client.until(b"\n") == b"7x8\r\n"
        api.world.execution.execs[0].die(9)
        await ended(api, exec_id)
        assert (await api.ask("POST", path, h="7", w="8")).status == 404
        assert (await api.ask("POST", path, h="a", w="8")).status == 400
        assert (await api.ask("POST", path, h="1")).status == 400
        assert (await api.ask("POST", "/exec/nope/resize", h="1", w="1")).status == 404


async def test_the_detach_keys_leave_a_terminal_that_goes_on(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "echo", Tty=True, DetachKeys="ctrl-a,b", **STDIN)
        async with api.hijack(f"/exec/{exec_id}/start", {"Tty": True}) as client:
            await client.raw.send_all(b"one\n")
            await client.until(b"ONE\r\n")
            await client.raw.send_all(b"\x01b")
            await client.rest()
        assert api.world.manager.execs.find(exec_id).is_running
        assert told(api, exec_id)[-1] == ("exec_detach", "")


async def test_without_a_terminal_the_keys_are_input_like_any(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "echo", **STDIN)
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            await client.raw.send_all(b"\x10\x11\n")
            await client.until(frame("stdout", b"\x10\x11\n"))
