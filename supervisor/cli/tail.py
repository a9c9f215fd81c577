"""supervisor's `tail`: the end of a process's output, and what comes later."""

from __future__ import annotations

import sys
from argparse import Namespace
from urllib.parse import quote

from supervisor.cli.client import Client
from supervisor.cli.errors import ApiError, CliError, Exit
from supervisor.cli.faults import Fault, describe

DEFAULT_BYTES = 1600
_READ_BYTES = 64 * 1024


def words_of(words: list[str]) -> tuple[int, str, str]:
    """Bytes, name and stream of `[-BYTES] NAME [stdout|stderr]`. Raises CliError."""
    size = DEFAULT_BYTES
    rest = list(words)
    if rest[0].startswith("-") and rest[0][1:].isdecimal():
        size = int(rest.pop(0)[1:])
    if not 1 <= len(rest) <= 2 or rest[1:] not in ([], ["stdout"], ["stderr"]):
        message = f"tail {' '.join(words)}: expected [-f] [-BYTES] NAME [stdout|stderr]"
        raise CliError(message, code=Exit.USAGE)
    return size, rest[0], rest[1] if len(rest) > 1 else "stdout"


def tail(client: Client, args: Namespace) -> int:
    """Print it."""
    from xmlrpc.client import Fault as RpcFault

    size, name, stream = words_of(args.words)
    if args.follow:
        return _follow(client, name, stream)
    method = f"readProcess{stream.capitalize()}Log"
    try:
        print(client.rpc(method, name, -size, 0), end="")
    except RpcFault as fault:
        raise CliError(f"{name}: {describe(fault.faultCode, fault.faultString)}") from fault
    return Exit.OK


def _follow(client: Client, name: str, stream: str) -> int:
    try:
        with client.stream("GET", f"/logtail/{quote(name, safe=':')}/{stream}") as response:
            while data := response.read1(_READ_BYTES):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
    except ApiError as error:
        raise CliError(f"{name}: {describe(Fault.BAD_NAME, '')}") from error
    return Exit.OK
