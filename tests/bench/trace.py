"""Where the time of a native start goes: each step of the program, timed by itself.

The list of system calls that a container's first process carries out is carried out here call by
call, in a forked process, with a look at the clock after each. The steps' own time is what is
shown; a real start has no interpreter between them.
"""

from __future__ import annotations

import json
import mmap
import os
import statistics
import time
import traceback
from collections import defaultdict
from pathlib import Path

import trio

from drivers.execution import cgroup
from drivers.execution.base import Command, Pipes
from drivers.execution.cgroup import ControlGroup
from drivers.execution.plan import make_plan
from drivers.execution.resources import Limits
from drivers.keeper.container import ContainerRecipe
from drivers.keeper.own_mounts import leave_host_mounts
from drivers.keeper.plan import Words
from drivers.kernel import mount, process
from tests.bench.figures import Figure
from tests.bench.setup import Setup

_RUNS = 30
_TOLD_BYTES = 64 * 1024
_SHOWN_USEC = 5.0  # steps below this are added up
_AT_CLONE = process.CLONE.NEWNS | process.CLONE.NEWUTS | process.CLONE.NEWIPC | process.CLONE.NEWNET


def trace(setup: Setup) -> list[Figure]:
    """The median time of each step, in microseconds, in the steps' order."""
    runs: dict[str, list[float]] = defaultdict(list)
    for _ in range(_RUNS):
        for step, usec in _trace_once(setup.root).items():
            runs[step].append(usec)
    medians = {step: statistics.median(times) for step, times in runs.items()}
    small = sum(usec for usec in medians.values() if usec < _SHOWN_USEC)
    shown = {step: usec for step, usec in medians.items() if usec >= _SHOWN_USEC}
    shown["all other steps"] = small
    shown["all steps"] = sum(medians.values())
    return [
        Figure(subject="trace", what=step, value=usec, unit="us") for step, usec in shown.items()
    ]


def _trace_once(root: Path) -> dict[str, float]:
    """Microseconds by step."""
    group = ControlGroup(cgroup.detect(), f"/creche-bench-{os.getpid()}", "trace", Limits())
    group.create()
    told = mmap.mmap(-1, _TOLD_BYTES)  # the process closes every descriptor
    root_fd = mount.open_tree_clone(str(root))
    try:
        pid = os.fork()
        if pid == 0:
            _become(group, root_fd, told)
        os.waitpid(pid, 0)
    finally:
        os.close(root_fd)
        trio.run(group.remove)
        cgroup.remove_parent(cgroup.detect(), f"/creche-bench-{os.getpid()}")
    found: dict[str, float] = json.loads(told[:].rstrip(b"\0"))
    return found


def _become(group: ControlGroup, root_fd: int, told: mmap.mmap) -> None:
    """In a child: go through all but the command, and tell; never returns."""
    try:
        process.unshare(process.CLONE.NEWPID)
        if os.fork():
            os.wait()
            os._exit(0)
        text = json.dumps(_timed_steps(group, root_fd)).encode()
        told[: len(text)] = text
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(0)


def _timed_steps(group: ControlGroup, root_fd: int) -> dict[str, float]:
    null = os.open(os.devnull, os.O_RDWR)
    pipes = Pipes(stdin=null, stdout=null, stderr=null)
    command = Command(key="trace", root_fd=root_fd, argv=("/nowhere",), env=(), hostname="trace")
    plan, _ = make_plan(command, pipes, group)
    recipe = ContainerRecipe(plan, frozenset(plan.capabilities))
    recipe.program.finish()
    fds = [null, null, null, root_fd, *group.open_to_join(plan.cgroup_hierarchies)]
    words = Words(argv=["/nowhere"], env=[], hostname="trace")
    recipe.program.prepare((*recipe.values(fds, words, 0), *recipe.execution.values(words)))
    leave_host_mounts()
    found: dict[str, float] = defaultdict(float)
    last = time.perf_counter()
    process.unshare(_AT_CLONE)
    found["new namespaces"] = (time.perf_counter() - last) * 1e6

    def note(step: str) -> None:
        nonlocal last
        now = time.perf_counter()
        found[step] += (now - last) * 1e6
        last = time.perf_counter()

    last = time.perf_counter()
    recipe.program.run_here(note)
    return found
