"""Pause, update, stats and top of the Engine API, over fakes and a virtual clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from drivers.errors import InvalidRequest
from drivers.execution.resources import (
    BlockUsage,
    CpuUsage,
    MemoryUsage,
    NetworkUsage,
    Usage,
)
from supervisor.control.docker.stats import Sample, shown, system_cpu_ns
from supervisor.control.docker.top import chosen
from tests.fakes.execution import exits
from tests.unit.control.api import Api, Reply, open_api
from tests.unit.supervisor.world import FOREVER

_USAGE = Usage(
    cpu=CpuUsage(
        total_usec=30,
        user_usec=20,
        system_usec=10,
        per_cpu_usec=(10, 20),
        periods=4,
        throttled_periods=3,
        throttled_usec=2,
    ),
    memory=MemoryUsage(
        usage_bytes=4096, max_usage_bytes=8192, limit_bytes=16384, stat={"cache": 50}, oom_kills=2
    ),
    pids=5,
    pids_limit=10,
    blocks=(BlockUsage(major=8, minor=0, read_bytes=1, write_bytes=2, read_operations=3),),
    networks=(NetworkUsage(name="eth0", rx_bytes=1, tx_dropped=8),),
)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(tmp_path, {("job",): exits(0, after_s=1)}) as opened:
        yield opened


async def _post(api: Api, path: str, body: object = b"") -> Reply:
    return await api.ask("POST", f"/containers/{path}", body)


async def test_pausing_and_going_on(api: Api) -> None:
    made = await api.run(*FOREVER, name="aa")
    assert (await _post(api, "aa/pause")).status == 204
    state = (await api.ask("GET", "/containers/aa/json")).json["State"]
    assert (state["Status"], state["Running"], state["Paused"]) == ("paused", True, True)
    [line] = (await api.ask("GET", "/containers/json")).json
    assert line["State"] == "paused"
    assert line["Status"].endswith("(Paused)")
    info = (await api.ask("GET", "/info")).json
    assert (info["ContainersRunning"], info["ContainersPaused"]) == (0, 1)
    for path, said in (
        ("aa/pause", f"Container {made} is already paused"),
        ("aa/start", "cannot start a paused container, try unpause instead"),
    ):
        reply = await _post(api, path)
        assert (reply.status, reply.message) == (409, said)
    assert (await api.ask("DELETE", "/containers/aa")).status == 409
    assert (await _post(api, "aa/unpause")).status == 204
    assert (await _post(api, "aa/unpause")).status == 409
    assert (await _post(api, "nope/pause")).status == 404
    assert (await _post(api, "aa/stop")).status == 204
    assert (await _post(api, "aa/pause")).message == f"container {made} is not running"


async def test_every_limit_is_shown_as_it_was_asked_for(api: Api) -> None:
    asked = {
        "Memory": 64 << 20,
        "MemorySwap": 96 << 20,
        "MemoryReservation": 32 << 20,
        "MemorySwappiness": 0,
        "CpuPeriod": 50_000,
        "CpuQuota": 25_000,
        "CpuShares": 512,
        "CpusetCpus": "0",
        "CpusetMems": "0",
        "PidsLimit": 7,
        "OomKillDisable": True,
        "BlkioWeight": 500,
    }
    await api.create("x", name="aa", HostConfig=asked)
    found = (await api.ask("GET", "/containers/aa/json")).json["HostConfig"]
    assert {name: found[name] for name in asked} == asked
    assert found["NanoCpus"] == 0
    await api.create("x", name="bb", HostConfig={"Memory": 64 << 20, "PidsLimit": -1})
    found = (await api.ask("GET", "/containers/bb/json")).json["HostConfig"]
    assert (found["MemorySwap"], found["PidsLimit"]) == (128 << 20, None)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"CpusetCpus": "4000"}, "Requested CPUs are not available - requested 4000, available: "),
        ({"CpuShares": 1}, "invalid CPU shares (1)"),
        ({"Memory": -1}, "Minimum memory limit allowed is 6MB"),
        ({"NanoCpus": -1}, "Range of CPUs is from 0.01 to"),
        ({"BlkioDeviceReadBps": [{"Path": "/dev/nope", "Rate": 5}]}, "invalid block device"),
        ({"BlkioDeviceReadIOps": [{"Path": "/dev/null", "Rate": 5}]}, "not a block device"),
        ({"BlkioDeviceWriteIOps": [{"Path": "/dev/vda", "Rate": -5}]}, "invalid rate -5"),
        ({"BlkioWeightDevice": [{"Path": "/dev/vda"}]}, "invalid JSON"),
    ],
)
async def test_a_wrong_limit_is_refused_before_anything_is_made(
    api: Api, asked: dict[str, Any], said: str
) -> None:
    for body in ({"Image": "box", "Cmd": ["x"], "HostConfig": asked},):
        reply = await _post(api, "create", body)
        assert reply.status == 400
        assert said in reply.message
    assert (await api.ask("GET", "/containers/json?all=1")).json == []
    await api.create("x", name="aa")
    reply = await _post(api, "aa/update", asked)
    assert reply.status == 400
    assert said in reply.message


async def test_an_update_replaces_what_it_names(api: Api) -> None:
    made = await api.run(*FOREVER, name="aa", HostConfig={"CpuShares": 10, "PidsLimit": 9})
    body = {"Memory": 64 << 20, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}
    assert (await _post(api, "aa/update", body)).json == {"Warnings": None}
    found = (await api.ask("GET", "/containers/aa/json")).json["HostConfig"]
    assert (found["Memory"], found["CpuShares"], found["PidsLimit"]) == (64 << 20, 10, 9)
    assert found["RestartPolicy"] == body["RestartPolicy"]
    assert api.world.execution.live[made].limits.memory_bytes == 64 << 20
    reply = await _post(api, "aa/update", {"RestartPolicy": {"Name": "x"}})
    assert reply.status == 400
    assert (await _post(api, "aa/update", {"PidsLimit": 0})).status == 200
    assert api.world.execution.live[made].limits.pids is None
    await _post(api, "aa/stop?t=0")


async def test_stats_once_have_the_second_before_unless_one_shot(
    api: Api, autojump_clock: MockClock
) -> None:
    made = await api.run(*FOREVER, name="aa")
    process = api.world.execution.live[made]
    process.usage = _USAGE
    began = trio.current_time()
    found = (await api.ask("GET", "/containers/aa/stats?stream=0")).json
    assert trio.current_time() == began + 1
    assert found["preread"] != "0001-01-01T00:00:00Z"
    assert found["precpu_stats"]["cpu_usage"]["total_usage"] == 30_000
    found = (await api.ask("GET", "/containers/aa/stats?stream=false&one-shot=true")).json
    assert trio.current_time() == began + 1
    assert found["preread"] == "0001-01-01T00:00:00Z"
    assert found["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert (found["id"], found["name"]) == (made, "/aa")
    await _post(api, "aa/stop?t=0")
    found = (await api.ask("GET", "/containers/aa/stats?stream=0")).json
    assert (found["read"], found["memory_stats"]) == ("0001-01-01T00:00:00Z", {})


async def test_a_stream_of_stats_ends_with_its_container(
    api: Api, autojump_clock: MockClock
) -> None:
    made = await api.run(*FOREVER, name="aa")
    api.world.execution.live[made].usage = _USAGE
    async with api.connect() as client:
        await client.send("GET", "/containers/aa/stats")
        assert (await client.head()).status_code == 200
        lines = [json.loads(bytes((await client.event()).data)) for _ in range(3)]
        assert [line["pids_stats"]["current"] for line in lines] == [5, 5, 5]
        assert lines[1]["preread"] == lines[0]["read"]
        await _post(api, "aa/stop?t=0")
        assert json.loads(bytes((await client.event()).data))["pids_stats"] == {}
        assert (await api.ask("DELETE", "/containers/aa")).status == 204
        await client.rest()
    assert (await api.ask("GET", "/containers/aa/stats?stream=0")).status == 404


class _Named:
    name = "aa"
    id = "1" * 64


@pytest.mark.parametrize("version", [1, 2])
def test_usage_is_shown_as_docker_shows_it(version: int) -> None:
    now = Sample(usage=_USAGE, read_ns=2, system_ns=900, cpus=2)
    line = shown(_Named(), Sample(), now, version)  # type: ignore[arg-type]
    assert line["pids_stats"] == {"current": 5, "limit": 10}
    assert line["cpu_stats"] == {
        "cpu_usage": {
            "total_usage": 30_000,
            "usage_in_kernelmode": 10_000,
            "usage_in_usermode": 20_000,
            "percpu_usage": [10_000, 20_000],
        },
        "system_cpu_usage": 900,
        "online_cpus": 2,
        "throttling_data": {"periods": 4, "throttled_periods": 3, "throttled_time": 2000},
    }
    most = {"max_usage": 8192} if version == 1 else {}
    assert line["memory_stats"] == {
        "usage": 4096,
        "limit": 16384,
        "stats": {"cache": 50},
        **most,
    }
    assert line["networks"]["eth0"]["rx_bytes"] == 1
    assert line["networks"]["eth0"]["tx_dropped"] == 8
    blocks = line["blkio_stats"]
    read = "Read" if version == 1 else "read"
    assert blocks["io_service_bytes_recursive"][0] == {
        "major": 8,
        "minor": 0,
        "op": read,
        "value": 1,
    }
    assert blocks["io_queue_recursive"] == ([] if version == 1 else None)


def test_the_hosts_processor_time_is_what_docker_adds_up() -> None:
    assert system_cpu_ns("cpu  1 2 3 4 5 6 7 800 900 0\ncpu0 1 1\n") == 28 * 10_000_000


def test_top_shows_the_lines_of_the_containers_processes() -> None:
    text = "USER   PID COMMAND\nroot     7 sh -c sleep 1\nroot    70 other\n\nbad\n"
    assert chosen(text, frozenset({7})) == (
        ["USER", "PID", "COMMAND"],
        [["root", "7", "sh -c sleep 1"]],
    )
    with pytest.raises(InvalidRequest, match="Couldn't find PID field in ps output"):
        chosen("COMMAND\nsh\n", frozenset({7}))


@pytest.mark.parametrize("arguments", ["-o%20comm", "-o%20comm=PID", "--nope", "-o%20x%00"])
async def test_top_with_arguments_that_ps_cannot_take_is_refused(api: Api, arguments: str) -> None:
    await api.run(*FOREVER, name="aa")
    reply = await api.ask("GET", f"/containers/aa/top?ps_args={arguments}")
    assert reply.status == 400
    await _post(api, "aa/stop?t=0")
