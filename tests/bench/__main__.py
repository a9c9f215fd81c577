"""Measures Creche side by side with its peers: `python -m tests.bench [--only NAME] [--json]`.

Needs root. Every subject works in a temporary directory; what it starts, it ends.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable

from tests.bench import daemons, native, runtimes, trace
from tests.bench.figures import Figure, merged, table, verdicts
from tests.bench.setup import Missing, Setup, own_disk
from tests.rootfs import make_busybox_root

Measure = Callable[[Setup], list[Figure]]

# Measured in turns, for a machine is not equally fast all the time and ratios are what counts.
IN_TURNS: dict[str, Measure] = {
    "floor": runtimes.floor,
    "bwrap": runtimes.bwrap,
    "crun": runtimes.crun,
    "runc": runtimes.runc,
    "native": native.native,
    "creched": daemons.start_by_creched,
    "dockerd": daemons.start_by_dockerd,
}
ONCE: dict[str, Measure] = {
    "trace": trace.trace,
    "creched": daemons.measure_creched,
    "dockerd": daemons.measure_dockerd,
}
TURNS = 4


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    subjects = list({**IN_TURNS, **ONCE})
    parser.add_argument("--only", choices=subjects, action="append", help="may be repeated")
    parser.add_argument("--runs", type=int, default=100, help="of each start (default 100)")
    parser.add_argument("--json", action="store_true", help="figures and verdicts as JSON")
    return parser.parse_args()


def _measure(chosen: list[str], setup: Setup) -> list[Figure]:
    """Every chosen subject; one that is missing is named and left out."""
    figures: list[Figure] = []
    missing: set[str] = set()
    a_turn = dataclasses.replace(setup, runs=max(setup.runs // TURNS, 1))
    rounds = [*[(IN_TURNS, a_turn)] * TURNS, (ONCE, setup)]
    for subjects, of_round in rounds:
        for name in [name for name in subjects if name in chosen and name not in missing]:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            os.sync()  # what the last one left
            try:
                figures += subjects[name](of_round)
            except Missing as error:
                missing.add(name)
                print(f"{name} is left out: {error}", file=sys.stderr)
    return merged(figures)


def main() -> None:
    """Measure and show."""
    args = _parse()
    if os.geteuid() != 0:
        sys.exit("bench: needs root")
    with own_disk() as directory:
        root = make_busybox_root(directory / "root")
        subprocess.run(["tar", "-C", root, "-cf", directory / "root.tar", "."], check=True)
        setup = Setup(directory=directory, root=root, runs=args.runs)
        figures = _measure(args.only or [*IN_TURNS, *ONCE], setup)
    judged = verdicts(figures)
    if args.json:
        values = {"figures": figures, "verdicts": judged}
        shown = {name: [dataclasses.asdict(v) for v in found] for name, found in values.items()}
        print(json.dumps(shown, indent=2))
    else:
        print(f"Linux {platform.release()}, {os.cpu_count()} processors\n")
        print(table(figures, judged))


if __name__ == "__main__":
    main()
