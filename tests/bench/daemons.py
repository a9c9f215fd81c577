"""What is measured of creched and dockerd alike, through their sockets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.bench.api import Api
from tests.bench.engines import Engine, creched, dockerd
from tests.bench.figures import IDLE_CONTAINERS, PARALLEL, Figure, median_figure
from tests.bench.setup import Setup

LEAST_RUNS = 5
IDLE_S = 10.0
SETTLE_S = 2.0
_DOCKER_SHARE = 5  # it is so much slower that a fifth of the runs and containers must do
_SHORT_LINE = b"a short line of output\n"
_LONG_LINE = b"x" * 1023 + b"\n"
_SHORT_BYTES = 46_000_000
_LONG_BYTES = 512 * 1024 * 1024
_UNROTATED = {"Type": "json-file", "Config": {"max-size": "8g", "max-file": "1"}}


def start_by_creched(setup: Setup) -> list[Figure]:
    """The life of a container, and many starts at once, by Creche."""
    with creched(setup) as engine:
        return [_start(setup, engine, share=1), _parallel(engine)]


def start_by_dockerd(setup: Setup) -> list[Figure]:
    """The same by Docker."""
    with dockerd(setup) as engine:
        return [_start(setup, engine, share=_DOCKER_SHARE), _parallel(engine)]


def measure_creched(setup: Setup) -> list[Figure]:
    """Everything else, of Creche."""
    with creched(setup) as engine:
        return [*_logs_and_memory(setup, engine, share=1), _idle(engine)]


def measure_dockerd(setup: Setup) -> list[Figure]:
    """The same of Docker, but for what takes it too long."""
    with dockerd(setup) as engine:
        return _logs_and_memory(setup, engine, share=_DOCKER_SHARE)


def _logs_and_memory(setup: Setup, engine: Engine, *, share: int) -> list[Figure]:
    return [
        *_logs(setup, engine, share),
        *_memory(engine, IDLE_CONTAINERS // share),
    ]


def _start(setup: Setup, engine: Engine, share: int) -> Figure:
    """create, start, wait, remove of `true`."""
    with contextlib.closing(Api(engine.socket)) as api:

        def once() -> None:
            container_id = api.create("/bin/true")
            api.start(container_id)
            assert api.wait(container_id) == 0
            api.remove(container_id)

        times = setup.timed(once, max(setup.runs // share, LEAST_RUNS))
    return median_figure(engine.name, "start", times)


@contextlib.contextmanager
def _idle_containers(api: Api, count: int) -> Iterator[list[str]]:
    """Containers that sleep; made, and not started yet."""
    made = [api.create("sleep", "100000") for _ in range(count)]
    try:
        yield made
    finally:
        for container_id in made:
            api.remove(container_id)


def _parallel(engine: Engine) -> Figure:
    """Until all of many containers run that are started at once, each by its own connection."""

    def start(container_id: str) -> None:
        with contextlib.closing(Api(engine.socket)) as api:
            api.start(container_id)

    with (
        contextlib.closing(Api(engine.socket)) as api,
        _idle_containers(api, PARALLEL) as made,
        ThreadPoolExecutor(PARALLEL) as threads,
    ):
        before = time.perf_counter()
        list(threads.map(start, made))
        taken = time.perf_counter() - before
    return Figure(
        subject=engine.name, what=f"{PARALLEL} starts at once", value=taken * 1e3, unit="ms"
    )


def _logs(setup: Setup, engine: Engine, share: int) -> Iterator[Figure]:
    """How fast a container's output becomes a json-file log, from its start to its flushed end."""
    data = setup.directory / "lines"
    data.mkdir(exist_ok=True)
    for what, line, size, unit in (
        ("short lines", _SHORT_LINE, _SHORT_BYTES, "lines/s"),
        ("1 KiB lines", _LONG_LINE, _LONG_BYTES // share, "MB/s"),
    ):
        file = data / "file"
        count = size // len(line)
        file.write_bytes(line * count)
        seconds = _time_of_cat(engine, file)
        amount = count if unit == "lines/s" else size / 1e6
        yield Figure(subject=engine.name, what=what, value=amount / seconds, unit=unit)


def _time_of_cat(engine: Engine, file: Path) -> float:
    """The best of three, without what an empty container costs."""
    with contextlib.closing(Api(engine.socket)) as api:

        def run(*argv: str) -> float:
            binds = [f"{file.parent}:/lines:ro"]
            container_id = api.create(*argv, Binds=binds, LogConfig=_UNROTATED)
            before = time.perf_counter()
            api.start(container_id)
            assert api.wait(container_id) == 0
            taken = time.perf_counter() - before
            api.remove(container_id)
            return taken

        empty = min(run("/bin/true") for _ in range(3))
        return min(run("cat", "/lines/file") for _ in range(3)) - empty


def _memory(engine: Engine, count: int) -> list[Figure]:
    """PSS of all that runs on the host, without containers and with many idle ones."""
    with contextlib.closing(Api(engine.socket)) as api, _idle_containers(api, count) as made:
        without = _pss_bytes(engine)
        for container_id in made:
            api.start(container_id)
        with_them = _pss_bytes(engine)
    return [
        Figure(
            subject=engine.name,
            what="memory per container",
            value=(with_them - without) / count / 1e3,
            unit="KB",
        ),
        Figure(subject=engine.name, what="memory of the daemons", value=without / 1e6, unit="MB"),
    ]


def _pss_bytes(engine: Engine) -> int:
    return _sum(engine, lambda process: process.memory_full_info().pss)


def _cpu_s(engine: Engine) -> float:
    return _sum(engine, lambda process: sum(process.cpu_times()[:2]))


def _sum(engine: Engine, of: Callable[[psutil.Process], float]) -> float:
    return sum(of(process) for process in engine.host_processes())


def _idle(engine: Engine) -> Figure:
    """Processor time that idle containers cost the host, as a share of one core."""
    with (
        contextlib.closing(Api(engine.socket)) as api,
        _idle_containers(api, IDLE_CONTAINERS) as made,
    ):
        for container_id in made:
            api.start(container_id)
        time.sleep(SETTLE_S)  # the last of them become ready
        before = _cpu_s(engine)
        time.sleep(IDLE_S)
        used = _cpu_s(engine) - before
    return Figure(subject=engine.name, what="idle", value=used / IDLE_S * 100, unit="%")
