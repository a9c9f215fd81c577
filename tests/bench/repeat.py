"""Runs a command again and again: `python -m tests.bench.repeat RUNS COMMAND...`.

Prints the seconds of each run, from before the fork to the reaped end. Ends with the command's
words and code if it fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.bench.setup import WARM_UP


def _once(command: list[str]) -> float:
    """With posix_spawn, which costs the same however large this process is."""
    before = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status = os.waitpid(pid, 0)
    taken = time.perf_counter() - before
    if status:
        sys.exit(f"{command[0]}: {os.waitstatus_to_exitcode(status)}")
    return taken


def main() -> None:
    """Run it."""
    runs, command = int(sys.argv[1]), sys.argv[2:]
    first = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if first.returncode:
        sys.exit(first.stderr.decode(errors="replace"))
    for _ in range(WARM_UP):
        _once(command)
    times = [_once(command) for _ in range(runs)]
    print("\n".join(map(str, times)))


if __name__ == "__main__":
    main()
