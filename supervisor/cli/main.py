"""crechectl: from the command line to an exit code."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from supervisor.cli.client import Client, socket_path
from supervisor.cli.errors import CliError, Exit, Unreachable
from supervisor.cli.output import complain
from supervisor.cli.parsers.root import build


def main() -> None:
    """The command `crechectl`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; returns the exit code."""
    args = build().parse_args(arguments)
    try:
        code = _carry_out(args)
        sys.stdout.flush()
        return code
    except CliError as error:
        complain(str(error))
        return exit_code(args, error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # whoever read the output has gone; nothing is to be written there at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE


def _carry_out(args: argparse.Namespace) -> int:
    """Import the verb's module, only that one, and call it."""
    module, _, function = args.handler.partition(":")
    handler = getattr(importlib.import_module(f"supervisor.cli.{module}"), function)
    code: int = handler(Client(socket_path(args.socket)), args)
    return code


def exit_code(args: argparse.Namespace, error: CliError) -> int:
    """The exit code of a command that failed: the error's, or as the verb's family has it."""
    if error.code is not None:
        return error.code
    if isinstance(error, Unreachable) and args.family == "supervisor":
        # as supervisorctl: what cannot be asked is unknown to `status`, and not running to others
        gone = error.errno == errno.ENOENT and args.verb != "status"
        return Exit.NOT_RUNNING if gone else Exit.UNREACHABLE
    code: int = args.failure
    return code


if __name__ == "__main__":
    main()
