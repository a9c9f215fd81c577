"""What all measurements share: a place, a root file system, and how often to repeat."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.execution import cgroup
from drivers.kernel import mount, process

REPOSITORY = Path(__file__).resolve().parents[2]
WARM_UP = 20  # a daemon does not run for the first time either
_DISK_BYTES = 16 * 1024**3  # sparse


class Missing(Exception):
    """This machine has not what the measurement needs; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One run of the whole bench."""

    directory: Path  # private, removed at the end
    root: Path  # a busybox root file system
    runs: int

    def below(self, name: str) -> Path:
        """A new directory for one subject."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))

    def timed(self, act: Callable[[], object], runs: int) -> list[float]:
        """Seconds of each run, after some that do not count."""
        for _ in range(WARM_UP):
            act()
        found = []
        for _ in range(runs):
            before = time.perf_counter()
            act()
            found.append(time.perf_counter() - before)
        return found


@contextlib.contextmanager
def own_disk() -> Iterator[Path]:
    """A directory on a file system of its own, as most hosts have one: ext4 with a journal.

    A container's layer costs what the file system below it does, and this machine's may be of any
    kind, full, or busy. The mount is this process's and its children's alone.
    """
    directory = Path(tempfile.mkdtemp(prefix="creche-bench-"))
    image, place = directory / "disk.img", directory / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    # all of it now, not by a thread of the kernel's while something is measured
    whole = "lazy_itable_init=0,lazy_journal_init=0"
    try:
        subprocess.run([need("mkfs.ext4"), "-q", "-E", whole, image], check=True)
        process.unshare(process.CLONE.NEWNS)
        mount.mount(None, "/", None, mount.MS.REC | mount.MS.PRIVATE)
        subprocess.run(["mount", "-o", "loop", image, place], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=True)
    finally:
        shutil.rmtree(directory)


def need(program: str) -> str:
    """The path of a program. Raises Missing."""
    path = shutil.which(program)
    if path is None:
        raise Missing(f"{program} is not installed")
    return path


def control_groups(name: str) -> list[Path]:
    """Two control group directories to be made: of two v1 controllers, or both of v2."""
    hierarchy = cgroup.detect()
    tops = [hierarchy.mounts[c] for c in ("memory", "pids") if c in hierarchy.mounts]
    if len(tops) == 2:
        return [top / f"{name}-{os.getpid()}" for top in tops]
    top = next(iter(hierarchy.mounts.values()))
    return [top / f"{name}-{os.getpid()}-{number}" for number in (1, 2)]


def in_private_mounts(script: str, *arguments: str | Path) -> list[str]:
    """A command that runs a shell script where its mounts are nobody else's."""
    inner = f"mount --make-rprivate / && {script}"
    return ["unshare", "--mount", "sh", "-euc", inner, "sh", *map(str, arguments)]


def times_in_private_mounts(setup: Setup, script: str, command: Sequence[str]) -> list[float]:
    """Seconds of each run of a command, after a shell script has prepared its mounts."""
    repeat = [sys.executable, "-m", "tests.bench.repeat", str(setup.runs), *command]
    done = subprocess.run(
        in_private_mounts(f'{script}; exec "$@"', *repeat),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Missing(f"{command[0]} fails here: {done.stderr.strip().splitlines()[-1:]}")
    return [float(line) for line in done.stdout.split()]
