"""What the tests of execs through the Engine API share: programs, and questions about them."""

from __future__ import annotations

import os

import trio

from tests.fakes.execution import Process, Program, exits, runs_forever
from tests.unit.control.api import Api
from tests.unit.supervisor.world import FOREVER

STDIN = {"AttachStdin": True}


async def echoing(process: Process) -> int:
    """Repeats lines in capitals until the end of file; the number of lines is the exit code."""
    count = 0
    while line := await process.read_line():
        process.write(line.upper())
        count += 1
    return count


async def size(process: Process) -> int:
    """Writes the size of its terminal again for every line it reads."""
    while True:
        columns, rows = os.get_terminal_size(process.stdout)
        process.write(f"{rows}x{columns}\n".encode())
        await process.read_line()


async def flooding(process: Process) -> int:
    """Writes 4 MiB, as fast as it is read."""
    os.set_blocking(process.stdout, False)
    async with trio.lowlevel.FdStream(os.dup(process.stdout)) as pipe:
        await pipe.send_all(bytes(4 * 1024 * 1024))
    return 0


async def leaving_a_writer(process: Process) -> int:
    """Ends, while another process has its output open still."""
    process.write(b"done\n")
    left_open.append(os.dup(process.stdout))
    return 0


left_open: list[int] = []

SCRIPTS: dict[tuple[str, ...], Program] = {
    ("greet",): exits(3, stdout=b"out\n", stderr=b"err\n"),
    ("echo",): echoing,
    ("size",): size,
    ("flood",): flooding,
    ("leave",): leaving_a_writer,
    ("soon",): exits(0, after_s=5),
    ("for", "ever"): runs_forever(),
}


async def exec_in(api: Api, *argv: str, **fields: object) -> str:
    """An exec in a container of its own."""
    return await api.exec(await api.run(*FOREVER), *argv, **fields)


async def ended(api: Api, exec_id: str) -> int:
    """Wait for its end; the exit code."""
    instance = api.world.manager.execs.find(exec_id)
    await instance.until(lambda: instance.exit_code is not None)
    return int((await api.ask("GET", f"/exec/{exec_id}/json")).json["ExitCode"])


def told(api: Api, exec_id: str) -> list[tuple[str, str]]:
    """The events about an exec, with the exit code if there is one."""
    events = api.world.manager.events.history(since_ns=0)
    return [
        (e.action, e.attributes.get("exitCode", ""))
        for e in events
        if e.attributes.get("execID") == exec_id
    ]
