"""crechectl: supervisorctl's verbs and Docker's in one client."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import NoReturn

from supervisor.cli import containers, images, processes, run
from supervisor.cli.client import Client, ClientError

DEFAULT_SOCKET = "/run/creche/creche.sock"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crechectl", description="Talks to creched, which supervises this host's containers."
    )
    parser.add_argument(
        "-s",
        "--socket",
        default=os.environ.get("CRECHE_SOCKET", DEFAULT_SOCKET),
        help=f"the daemon's socket (default $CRECHE_SOCKET, else {DEFAULT_SOCKET})",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for family in (processes, containers, run, images):
        family.add_parsers(verbs)
    return parser


def main() -> NoReturn:
    """The command `crechectl`."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `crechectl ps | head` ends quietly
    options = _parser().parse_args()
    try:
        code = options.act(Client(options.socket), options)
        sys.stdout.flush()
    except ClientError as error:
        print(f"crechectl: error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    sys.exit(code)


if __name__ == "__main__":
    main()
