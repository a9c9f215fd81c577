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
from dataclasses import dataclass
from functools import partial
from types import FrameType

from supervisor.cli import terminal
from supervisor.cli.client import Client, Upgraded, part
from supervisor.cli.errors import CliError, Exit
from supervisor.detach import KeyFilter, parse_keys

_HEADER = struct.Struct(">BxxxL")  # Docker's frame: stream number, length
_RAW = "application/vnd.docker.raw-stream"  # of a terminal: without frames
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


def write_raw(read: Callable[[int], bytes]) -> None:
    """Write the output of a terminal to ours until it ends."""
    while data := read(_READ_BYTES):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


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
        if response.headers.get("Content-Type") == _RAW:
            write_raw(response.read1)
        else:
            write_frames(response.read)
    return Exit.OK


def attach(client: Client, args: Namespace) -> int:
    """Join the streams of a running container; ends with its exit code."""
    shown = client.call("GET", f"/containers/{part(args.name)}/json")
    if not shown["State"]["Running"]:
        raise CliError(
            f"{args.name} is not running: start it first (`crechectl start {args.name}`)"
        )
    config = shown["Config"]
    session = Session(
        client=client,
        path=f"/containers/{shown['Id']}",
        stdin=config["OpenStdin"] and not args.no_stdin,
        tty=config["Tty"],
        detach_keys=args.detach_keys,
        proxy=not args.no_sig_proxy,
    )
    check_terminal(tty=session.tty, stdin=session.stdin, detach_keys=session.detach_keys)
    with client.upgrade(f"{session.path}/attach", session.query) as upgraded:
        if config["Tty"]:
            redraw(session)
        left = converse(session, upgraded)
    if left:
        return tell_left()
    result = client.call("POST", f"{session.path}/wait")
    return int(result["StatusCode"])


def tell_left() -> int:
    """Say that the detach keys were read, as the docker command does; the exit code."""
    print("read escape sequence", file=sys.stderr)
    return Exit.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """How we are to talk to a container or an exec, which has the path `path`."""

    client: Client
    path: str
    stdin: bool
    tty: bool
    detach_keys: str = ""
    proxy: bool = False  # pass on signals; at a terminal, keys do what signals else do

    @property
    def query(self) -> dict[str, object]:
        """The parameters of attaching."""
        keys = {"detachKeys": self.detach_keys} if self.detach_keys else {}
        return {"stream": True, "stdout": True, "stderr": True, "stdin": self.stdin, **keys}


def check_terminal(*, tty: bool, stdin: bool, detach_keys: str) -> None:
    """Raise CliError if there is no terminal to talk from, or no key of a name."""
    if tty and stdin and not terminal.is_there():
        raise CliError("the input device is not a TTY", code=Exit.FAILED)
    try:
        parse_keys(detach_keys)
    except ValueError as error:
        message = f"--detach-keys {detach_keys}: {error}"
        raise CliError(message, code=Exit.FAILED) from error


def converse(session: Session, upgraded: Upgraded) -> bool:
    """Pass input, output and signals on until the output ends; whether the keys ended it."""
    keys = KeyFilter(parse_keys(session.detach_keys)) if session.tty else None
    with contextlib.ExitStack() as held:
        if session.tty and session.stdin:
            held.enter_context(terminal.raw())
        if session.tty:
            held.enter_context(terminal.size_passed_on(partial(resize, session)))
        elif session.proxy:
            held.enter_context(signals_passed_on(session.client, session.path))
        if session.stdin:
            # not waited for: it may sit in a read from a terminal when the container ends
            threading.Thread(target=_feed, args=(upgraded, keys), daemon=True).start()
        if session.tty:
            write_raw(upgraded.read_some)
        else:
            write_frames(upgraded.read)
    return keys is not None and keys.detached


def _feed(upgraded: Upgraded, keys: KeyFilter | None) -> None:
    with contextlib.suppress(OSError):  # the container takes no more
        while data := os.read(0, _READ_BYTES):
            if keys is not None:
                keys.feed(data)  # before the daemon sees them, and at once ends the stream
            upgraded.send(data)
            if keys is not None and keys.detached:
                return
    upgraded.end_input()


def resize(session: Session, rows: int, columns: int) -> None:
    """Tell the daemon the size of our window; not if there is nothing to resize any more."""
    with contextlib.suppress(CliError):
        session.client.call("POST", f"{session.path}/resize", {"h": rows, "w": columns})


def redraw(session: Session) -> None:
    """Make the program show itself: it does when the size changes, which it may not have."""
    size = terminal.size()
    if size is not None:
        resize(session, size[0] + 1, size[1])
        resize(session, *size)


@contextlib.contextmanager
def signals_passed_on(client: Client, path: str) -> Iterator[None]:
    """Signals to us go to the container; three interrupts end us nevertheless."""
    interrupts = 0

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number in (signal.SIGINT, signal.SIGTERM)
        if interrupts >= _GIVE_UP_AFTER:
            raise KeyboardInterrupt
        with contextlib.suppress(CliError):  # it has ended, or is about to start
            client.call("POST", f"{path}/kill", {"signal": signal.Signals(number).name})

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
