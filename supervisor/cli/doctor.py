"""`doctor`: what works on this host, asked of the daemon, or found out without one."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from typing import Any

from supervisor.cli.client import Client
from supervisor.cli.errors import ApiError, CliError, Exit, Unreachable
from supervisor.cli.output import show_json, show_table

# The daemon looks for itself if none is running; it is not imported, for it is large.
_LOOK = "from supervisor.daemon import main; main()"


def doctor(client: Client, args: Namespace) -> int:
    """Show it; 1 if something is missing without which containers cannot run."""
    report = _report(client)
    if args.json:
        show_json(report)
    else:
        for name, value in report["host"].items():
            print(f"{name + ':':<12}{value}")
        print()
        findings = report["findings"]
        rows = [
            [f["kind"], f["name"], "yes" if f["works"] else "no", f["problem"] or ""]
            for f in findings
        ]
        show_table(["KIND", "NAME", "WORKS", "PROBLEM"], rows)
        helps = [f for f in findings if f["help"]]
        if helps:
            print()
        for finding in helps:
            print(f"{finding['kind']} {finding['name']}: {finding['help']}")
    return Exit.OK if report["usable"] else Exit.FAILED


def _report(client: Client) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.call("GET", "/creche/doctor")
    except Unreachable:
        return _look_without_daemon()
    except ApiError as error:
        if error.status != 404:
            raise
        return _look_without_daemon()  # a daemon of another make
    return found


def _look_without_daemon() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, "--doctor"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CliError(done.stderr.strip().removeprefix("creched: error: ") or "creched failed")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
