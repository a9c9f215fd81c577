"""Execs through the Engine API, over fakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from supervisor.control.docker.frames import frame
from supervisor.execs.instances import KEPT_S, STARTED_WITHIN_S
from tests.fakes.execution import exits
from tests.unit.control.api import open_api
from tests.unit.control.execs import SCRIPTS, STDIN, ended, exec_in, left_open, told
from tests.unit.supervisor.world import DEAF, FOREVER


@pytest.mark.parametrize("upgrade", [True, False])
async def test_an_attached_exec_sends_both_streams_and_has_an_exit_code(
    tmp_path: Path, upgrade: bool
) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "greet")
        async with api.hijack(f"/exec/{exec_id}/start", {}, upgrade=upgrade) as client:
            assert client.head.startswith(b"HTTP/1.1 101" if upgrade else b"HTTP/1.1 200")
            seen = await client.rest()
        assert frame("stdout", b"out\n") in seen
        assert frame("stderr", b"err\n") in seen
        assert await ended(api, exec_id) == 3
        assert told(api, exec_id) == [
            ("exec_create: greet ", ""),
            ("exec_start: greet ", ""),
            ("exec_die", "3"),
        ]
        assert api.world.log.batches == []


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("v1.41", False, b"raw"),
        ("v1.42", False, b"multiplexed"),
        ("v1.42", True, b"raw"),
    ],
)
async def test_the_stream_is_called_as_the_client_knows_it(
    tmp_path: Path, version: str, tty: bool, kind: bytes
) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "greet", Tty=tty)
        async with api.hijack(f"/{version}/exec/{exec_id}/start", {"Tty": tty}) as client:
            assert b"application/vnd.docker." + kind + b"-stream" in client.head


async def test_an_exec_is_shown_before_during_and_after_it_runs(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        container_id = await api.run(*FOREVER)
        exec_id = await api.exec(container_id, "for", "ever", User="bin", DetachKeys="ctrl-a")
        before = (await api.ask("GET", f"/exec/{exec_id}/json")).json
        assert before == {
            "ID": exec_id,
            "Running": False,
            "ExitCode": None,
            "ProcessConfig": {
                "tty": False,
                "entrypoint": "for",
                "arguments": ["ever"],
                "privileged": False,
                "user": "bin",
            },
            "OpenStdin": False,
            "OpenStderr": True,
            "OpenStdout": True,
            "CanRemove": False,
            "ContainerID": container_id,
            "DetachKeys": "ctrl-a",
            "Pid": 0,
        }
        assert (await api.ask("POST", f"/exec/{exec_id}/start", {"Detach": True})).status == 200
        during = (await api.ask("GET", f"/exec/{exec_id}/json")).json
        assert during["Running"]
        assert during["Pid"] > 0
        shown = (await api.ask("GET", f"/containers/{container_id}/json")).json
        assert shown["ExecIDs"] == [exec_id]
        api.world.execution.execs[0].die(9)
        assert await ended(api, exec_id) == 137
        shown = (await api.ask("GET", f"/containers/{container_id}/json")).json
        assert shown["ExecIDs"] is None


async def test_what_an_exec_does_not_say_is_as_in_the_container(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        fields = {"Env": ["A=1", "B=2"], "User": "alice", "WorkingDir": "/w", "Hostname": "box"}
        container_id = await api.run(*FOREVER, **fields)
        plain = await api.exec(container_id, "for", "ever")
        own = {"Env": ["A=9", "C=3", "B"], "User": "bin", "WorkingDir": "/v/../x", "Tty": True}
        other = await api.exec(container_id, "for", "ever", Privileged=True, **own)
        for exec_id in (plain, other):
            await api.ask("POST", f"/exec/{exec_id}/start", {"Detach": True})
        first, second = (process.command for process in api.world.execution.execs)
        assert (first.user, first.cwd, first.terminal) == ("alice", "/w", None)
        assert set(first.env) >= {"A=1", "B=2", "HOSTNAME=box"}
        assert (second.user, second.cwd) == ("bin", "/x")
        assert set(second.env) >= {"A=9", "C=3", "HOSTNAME=box", "TERM=xterm"}
        assert "B=2" not in second.env
        assert second.privileged  # type: ignore[union-attr]


async def test_standard_input_reaches_the_process_to_its_end(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "echo", **STDIN)
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            await client.raw.send_all(b"one\n")
            await client.until(frame("stdout", b"ONE\n"))
            await client.raw.send_all(b"two\n")
            await client.raw.send_eof()
            assert await client.rest() == frame("stdout", b"TWO\n")
        assert await ended(api, exec_id) == 2


async def test_without_it_the_process_reads_the_end_of_file_at_once(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "echo")
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            assert await client.rest() == b""
        assert await ended(api, exec_id) == 0


async def test_a_process_waits_for_a_client_that_reads_slowly(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "flood")
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert api.world.manager.execs.find(exec_id).is_running
            seen = await client.rest()
        assert seen.count(b"\0" * 1024) >= 4 * 1024 - 200  # the frames' heads are in between
        assert await ended(api, exec_id) == 0


async def test_an_exec_goes_on_when_its_client_hangs_up(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "flood")
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            await client.raw.receive_some(1)
        assert await ended(api, exec_id) == 0


async def test_the_end_of_file_is_what_a_hung_up_client_leaves(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "echo", **STDIN)
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            await client.raw.send_all(b"one\n")
            await client.until(b"ONE\n")
        assert await ended(api, exec_id) == 1


async def test_output_is_not_waited_for_once_the_process_has_ended(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "leave")
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            assert await client.rest() == frame("stdout", b"done\n")
        os.close(left_open.pop())


async def test_an_exec_ends_with_its_container(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        container_id = await api.run(*FOREVER)
        exec_id = await api.exec(container_id, "for", "ever")
        waiting = await api.exec(container_id, "greet")
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            instance = api.world.manager.execs.find(exec_id)
            await instance.until(lambda: bool(instance.pid))
            await api.ask("POST", f"/containers/{container_id}/kill")
            assert await client.rest() == b""
        assert await ended(api, exec_id) == 137
        await api.world.manager.find(container_id).at_rest()
        for reply in (
            await api.ask("GET", f"/exec/{waiting}/json"),
            await api.ask("POST", f"/exec/{waiting}/start", {}),
        ):
            assert (reply.status, reply.message) == (404, f"No such exec instance: {waiting}")
        await api.ask("DELETE", f"/containers/{container_id}")
        assert (await api.ask("GET", f"/exec/{exec_id}/json")).status == 404


async def test_execs_are_forgotten_some_time_after_their_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        container_id = await api.run(*FOREVER)
        done = await api.exec(container_id, "soon")
        await api.ask("POST", f"/exec/{done}/start", {"Detach": True})
        await ended(api, done)
        never = await api.exec(container_id, "soon")
        await trio.sleep(KEPT_S - 1)
        assert (await api.ask("GET", f"/exec/{done}/json")).status == 200
        await trio.sleep(2)
        assert (await api.ask("GET", f"/exec/{done}/json")).status == 404
        assert (await api.ask("GET", f"/exec/{never}/json")).status == 200
        await trio.sleep(STARTED_WITHIN_S)
        assert (await api.ask("GET", f"/exec/{never}/json")).status == 404


async def test_an_exec_runs_once(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "for", "ever")
        path = f"/exec/{exec_id}/start"
        assert (await api.ask("POST", path, {"Detach": True})).status == 200
        reply = await api.ask("POST", path, {"Detach": True})
        message = f"Error: Exec command {exec_id} is already running"
        assert (reply.status, reply.message) == (409, message)
        async with api.hijack(path, {}) as client:
            assert await client.rest() == frame("stdout", f"{message}\r\n".encode())
        api.world.execution.execs[0].die(9)
        await ended(api, exec_id)
        reply = await api.ask("POST", path, {"Detach": True})
        assert reply.message == f"Error: Exec command {exec_id} has already run"


async def test_a_second_client_takes_nothing_from_the_first(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        exec_id = await exec_in(api, "echo", **STDIN)
        async with api.hijack(f"/exec/{exec_id}/start", {}) as first:
            await first.raw.send_all(b"one\n")
            await first.until(b"ONE\n")
            async with api.hijack(f"/exec/{exec_id}/start", {}) as second:
                assert b"already running" in await second.rest()
            await first.raw.send_all(b"two\n")
            await first.until(b"TWO\n")


async def test_a_command_that_is_not_there_is_told_where_output_would_be(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        container_id = await api.run(*FOREVER)
        words = b'exec: "nope": executable file not found in $PATH'
        exec_id = await api.exec(container_id, "nope")
        async with api.hijack(f"/exec/{exec_id}/start", {}) as client:
            assert words in await client.rest()
        assert await ended(api, exec_id) == 127
        detached = await api.exec(container_id, "nope")
        reply = await api.ask("POST", f"/exec/{detached}/start", {"Detach": True})
        assert reply.status == 400
        assert words.decode() in reply.message
        assert told(api, detached)[-1] == ("exec_start: nope ", "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "No exec command specified"),
        ({"Cmd": []}, "No exec command specified"),
        ({"Cmd": "true"}, "invalid JSON"),
        ({"Cmd": ["a\0b"]}, "NUL"),
        ({"Cmd": ["a"], "WorkingDir": "relative"}, "needs to be an absolute path"),
        ({"Cmd": ["a"], "DetachKeys": "ctrl-1"}, "Invalid escape keys (ctrl-1) provided"),
        ({"Cmd": ["a"], "ConsoleSize": [-1, 2]}, "cannot be -1 by 2"),
        ({"Cmd": ["a"], "ConsoleSize": [1]}, "invalid JSON"),
    ],
)
async def test_a_request_that_makes_no_sense_is_a_400(
    tmp_path: Path, body: dict[str, object], words: str
) -> None:
    async with open_api(tmp_path) as api:
        container_id = await api.run(*FOREVER)
        reply = await api.ask("POST", f"/containers/{container_id}/exec", body)
        assert reply.status == 400
        assert words in reply.message


async def test_where_no_exec_can_be_had_is_told_in_dockers_words(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_api(tmp_path, {("crash",): exits(1)}) as api:
        made = await api.create(*FOREVER)
        policy = {"RestartPolicy": {"Name": "always"}}
        crashing = await api.run("crash", HostConfig=policy)
        await api.world.manager.find(crashing).until(
            lambda: api.world.manager.find(crashing).record.docker_status == "restarting"
        )
        for container_id, message in (
            (made, f"Container {made} is not running"),
            (crashing, f"Container {crashing} is restarting, wait until the container is running"),
        ):
            reply = await api.ask("POST", f"/containers/{container_id}/exec", {"Cmd": ["a"]})
            assert (reply.status, reply.message) == (409, message)
        reply = await api.ask("POST", "/containers/nope/exec", {"Cmd": ["a"]})
        assert (reply.status, reply.message) == (404, "No such container: nope")


async def test_events_are_found_by_the_name_before_the_command(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        await exec_in(api, "greet")
        reply = await api.ask(
            "GET", "/events", since="1", until="1", filters='{"event":["exec_create"]}'
        )
        assert reply.body == b""
        far = str(2**33)
        async with api.connect() as client:
            await client.send(
                "GET",
                f"/events?since=1&until={far}&filters=%7B%22event%22:%5B%22exec_create%22%5D%7D",
            )
            await client.head()
            assert b"exec_create: greet " in bytes((await client.event()).data)


async def test_nothing_is_left_of_an_exec(tmp_path: Path) -> None:
    async with open_api(tmp_path, SCRIPTS) as api:
        container_id = await api.run(*DEAF)
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = len(os.listdir("/proc/self/fd"))
        for tty in (False, True):
            for argv in (("greet",), ("nope",), ("echo",)):
                exec_id = await api.exec(container_id, *argv, Tty=tty, **STDIN)
                async with api.hijack(f"/exec/{exec_id}/start", {"Tty": tty}) as client:
                    if argv != ("echo",):
                        await client.rest()
                    else:
                        await client.raw.send_all(b"one\n\x04" if tty else b"one\n")
                        await client.until(b"ONE")
                await ended(api, exec_id)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(os.listdir("/proc/self/fd")) == before
