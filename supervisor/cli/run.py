"""`crechectl run` and `create`: Docker's options, attached or not."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from supervisor.cli.client import ApiError, Client, ClientError
from supervisor.cli.streams import copy_frames, feed_stdin

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def add_parsers(verbs: Any) -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("run", help="make a container and run it")
    _add_options(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="print the id and end")
    parser.set_defaults(act=run)
    parser = verbs.add_parser("create", help="make a container")
    _add_options(parser)
    parser.set_defaults(act=create)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="pass standard input on")
    add("--rm", action="store_true", help="remove it when it has ended")
    add("--name", default="")
    add("-e", "--env", action="append", default=[], metavar="NAME=VALUE")
    add("--env-file", action="append", default=[], metavar="FILE")
    add("-w", "--workdir", default="")
    add("-u", "--user", default="")
    add("--hostname", default="")
    add("--entrypoint")
    add("--read-only", action="store_true")
    add("--tmpfs", action="append", default=[], metavar="PATH[:OPTIONS]")
    add("-v", "--volume", action="append", default=[], metavar="SOURCE:TARGET[:ro]")
    add("-m", "--memory", default="0")
    add("--cpus", type=float, default=0.0)
    add("--pids-limit", type=int)
    add("--restart", default="no")
    add("--stop-signal", default="")
    add("--stop-timeout", type=int)
    add("-l", "--label", action="append", default=[], metavar="NAME=VALUE")
    add("--log-driver", default="")
    add("--log-opt", action="append", default=[], metavar="KEY=VALUE")
    add("--network", default="default")
    add("--security-opt", action="append", default=[])
    add("image")
    add("command", nargs=argparse.REMAINDER)


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ClientError(f'invalid size: "{text}"', 125)
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _pairs(items: list[str]) -> dict[str, str]:
    return dict(item.partition("=")[::2] for item in items)


def _env(options: argparse.Namespace) -> list[str]:
    found: list[str] = []
    for name in options.env_file:
        try:
            lines = Path(name).read_text().splitlines()
        except OSError as error:
            raise ClientError(f"{name}: {(error.strerror or '').lower()}", 125) from error
        found += [line for line in lines if line.strip() and not line.startswith("#")]
    return found + options.env


def body_of(options: argparse.Namespace) -> dict[str, Any]:
    """The body of POST /containers/create."""
    name, _, count = options.restart.partition(":")
    attached = not getattr(options, "detach", False)
    return {
        "Image": options.image,
        "Cmd": options.command or None,
        "Entrypoint": None if options.entrypoint is None else shlex.split(options.entrypoint),
        "Env": _env(options),
        "WorkingDir": options.workdir,
        "User": options.user,
        "Hostname": options.hostname,
        "Labels": _pairs(options.label),
        "AttachStdout": attached,
        "AttachStderr": attached,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive and attached,
        "StopSignal": options.stop_signal,
        "StopTimeout": options.stop_timeout,
        "HostConfig": {
            "AutoRemove": options.rm,
            "ReadonlyRootfs": options.read_only,
            "Tmpfs": {t.partition(":")[0]: t.partition(":")[2] for t in options.tmpfs},
            "Binds": options.volume,
            "Memory": _bytes(options.memory),
            "NanoCpus": int(options.cpus * 1e9),
            "PidsLimit": options.pids_limit,
            "RestartPolicy": {"Name": name, "MaximumRetryCount": int(count or 0)},
            "LogConfig": {"Type": options.log_driver, "Config": _pairs(options.log_opt)},
            "NetworkMode": options.network,
            "SecurityOpt": options.security_opt,
        },
    }


def _create(client: Client, options: argparse.Namespace) -> str:
    try:
        made = client.call("POST", "/containers/create", {"name": options.name}, body_of(options))
    except ClientError as error:
        error.exit_code = 125
        raise
    return str(made["Id"])


def create(client: Client, options: argparse.Namespace) -> int:
    """Make a container and print its id."""
    print(_create(client, options))
    return 0


def run(client: Client, options: argparse.Namespace) -> int:
    """The container's exit code; 125 if the daemon refuses, 126 and 127 as a shell has them."""
    made = _create(client, options)
    path = f"/containers/{made}"
    if options.detach:
        _start(client, path)
        print(made)
        return 0
    streams = {"stream": 1, "stdin": int(options.interactive), "stdout": 1, "stderr": 1}
    sock, first = client.hijack(f"{path}/attach", streams)
    condition = "removed" if options.rm else "next-exit"
    with client.open("POST", f"/v1.50{path}/wait", {"condition": condition}) as ended, sock:
        _start(client, path)
        _pass_signals_on(client, path)
        if options.interactive:
            feed_stdin(sock)
        copy_frames(sock.recv, first)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        return int(json.loads(ended.read())["StatusCode"])


def _start(client: Client, path: str) -> None:
    try:
        client.call("POST", f"{path}/start")
    except ApiError as error:
        text = str(error)
        if "executable file not found" in text or "no such file or directory" in text:
            error.exit_code = 127
        elif "permission denied" in text or "exec format error" in text:
            error.exit_code = 126
        else:
            error.exit_code = 125
        raise


def _pass_signals_on(client: Client, path: str) -> None:
    """What this process is sent goes to the container, as `docker run` does it."""

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ClientError):
            client.call("POST", f"{path}/kill", {"signal": str(number)})

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, pass_on)
    sys.stdout.flush()
