"""Those that run one container and nothing more: the C program, bwrap, crun, runc."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

from tests.bench.figures import Figure, median_figure
from tests.bench.setup import (
    WARM_UP,
    Missing,
    Setup,
    control_groups,
    need,
    times_in_private_mounts,
)


def floor(setup: Setup) -> list[Figure]:
    """The kernel's own work, without and with a network namespace."""
    place = setup.below("floor")
    program = place / "floor"
    source = Path(__file__).with_name("floor.c")
    subprocess.run([need("gcc"), "-O2", "-Wall", "-Werror", "-o", program, source], check=True)
    (place / "upper").mkdir()
    (place / "work").mkdir()
    found = []
    for net, what in (("0", "start"), ("1", "start, network namespace")):
        groups = control_groups("creche-floor")
        command = [
            *(program, str(setup.runs + WARM_UP), net, setup.root),
            *(place / "upper", place / "work", *groups, "/bin/true"),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            for group in groups:  # where it failed half way
                with contextlib.suppress(FileNotFoundError):
                    group.rmdir()
        if done.returncode:
            raise Missing(done.stderr.strip())
        seconds = [float(line) / 1e6 for line in done.stdout.split()]
        found.append(median_figure("floor", what, seconds[WARM_UP:]))
    return found


def bwrap(setup: Setup) -> list[Figure]:
    """bubblewrap with all namespaces; it makes no control groups and no overlay."""
    command = [
        *(need("bwrap"), "--unshare-all", "--bind", str(setup.root), "/", "--proc", "/proc"),
        *("--dev", "/dev", "/bin/true"),
    ]
    return [median_figure("bwrap", "start", times_in_private_mounts(setup, ":", command))]


def crun(setup: Setup) -> list[Figure]:
    """crun; on a hybrid host it works only where it does not see the v2 hierarchy."""
    hide = "umount /sys/fs/cgroup/unified 2>/dev/null || true"
    return [_oci(setup, "crun", hide)]


def runc(setup: Setup) -> list[Figure]:
    """runc."""
    return [_oci(setup, "runc", ":")]


def _oci(setup: Setup, name: str, prepare: str) -> Figure:
    """`run` of a bundle with the runtime's own default configuration."""
    program = need(name)
    bundle = setup.below(name)
    (bundle / "rootfs").symlink_to(setup.root)
    subprocess.run([program, "spec"], cwd=bundle, check=True)
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/true"]
    config["root"]["path"] = str(setup.root)
    file.write_text(json.dumps(config))
    state, key = str(bundle / "state"), f"creche-bench-{os.getpid()}"
    command = [program, "--root", state, "run", "--bundle", str(bundle), key]
    return median_figure(name, "start", times_in_private_mounts(setup, prepare, command))
