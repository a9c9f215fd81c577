"""A container's output and input: logs, attach, and what `run` needs of both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from types import FrameType

from supervisor.cli.client import Client, Upgraded, part
from supervisor.cli.errors import CliError, Exit

_HEADER = struct.Struct(">BxxxL")  # Docker's frame: stream number, length
_STDERR = 2
_READ_BYTES = 64 * 1024
_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
            signal.SIGUSR1, signal.SIGUSR2)  # fmt: skip
_GIVE_UP_AFTER = 3  # interrupts, if the container does not care

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


def moment(text: str | None, *, now_s: float | None = None) -> str | None:
    """A time as the API takes it: "10m" becomes the Unix time ten minutes ago."""
    found = _DURATION.fullmatch(text) if text else None
    if found is None:
        return text
    hours, minutes, seconds = (float(number or 0) for number in found.groups())
    now_s = time.time() if now_s is None else now_s
    return f"{now_s - hours * 3600 - minutes * 60 - seconds:.9f}"


def write_frames(read: Callable[[int], bytes]) -> None:
    """Write multiplexed output to our own streams until it ends."""
    while len(header := read(_HEADER.size)) == _HEADER.size:
        number, length = _HEADER.unpack(header)
        stream = sys.stderr.buffer if number == _STDERR else sys.stdout.buffer
        stream.write(read(length))
        stream.flush()


def logs(client: Client, args: Namespace) -> int:
    """Print what a container has written."""
    query = {
        "stdout": True,
        "stderr": True,
        "follow": args.follow,
        "tail": args.tail,
        "timestamps": args.timestamps,
        "details": args.details,
        "since": moment(args.since),
        "until": moment(args.until),
    }
    with client.stream("GET", f"/containers/{part(args.name)}/logs", query) as response:
        write_frames(response.read)
    return Exit.OK


def attach(client: Client, args: Namespace) -> int:
    """Join the streams of a running container; ends with its exit code."""
    shown = client.call("GET", f"/containers/{part(args.name)}/json")
    if not shown["State"]["Running"]:
        raise CliError(
            f"{args.name} is not running: start it first (`crechectl start {args.name}`)"
        )
    container_id = shown["Id"]
    has_stdin = shown["Config"]["OpenStdin"] and not args.no_stdin
    query = {"stream": True, "stdout": True, "stderr": True, "stdin": has_stdin}
    with client.upgrade(f"/containers/{container_id}/attach", query) as upgraded:
        converse(client, container_id, upgraded, stdin=has_stdin, proxy=not args.no_sig_proxy)
    result = client.call("POST", f"/containers/{container_id}/wait")
    return int(result["StatusCode"])


def converse(
    client: Client, container_id: str, upgraded: Upgraded, *, stdin: bool, proxy: bool
) -> None:
    """Pass input, output and signals between us and a container until its output ends."""
    if stdin:
        # not waited for: it may sit in a read from a terminal when the container ends
        threading.Thread(target=_feed, args=(upgraded,), daemon=True).start()
    with signals_passed_on(client, container_id) if proxy else contextlib.nullcontext():
        write_frames(upgraded.read)


def _feed(upgraded: Upgraded) -> None:
    with contextlib.suppress(OSError):  # the container takes no more
        while data := os.read(0, _READ_BYTES):
            upgraded.send(data)
    upgraded.end_input()


@contextlib.contextmanager
def signals_passed_on(client: Client, container_id: str) -> Iterator[None]:
    """Signals to us go to the container; three interrupts end us nevertheless."""
    interrupts = 0

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number in (signal.SIGINT, signal.SIGTERM)
        if interrupts >= _GIVE_UP_AFTER:
            raise KeyboardInterrupt
        with contextlib.suppress(CliError):  # it has ended, or is about to start
            path = f"/containers/{container_id}/kill"
            client.call("POST", path, {"signal": signal.Signals(number).name})

    before = {number: signal.signal(number, pass_on) for number in _PROXIED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code_from(text: bytes) -> int:
    """The exit code in the answer of `wait`. Raises CliError if the daemon could not tell it."""
    result = json.loads(text)
    if result.get("Error"):
        raise CliError(result["Error"]["Message"], code=Exit.DAEMON)
    return int(result["StatusCode"])
