"""Programs that were built once and are kept for the next process of the same plan."""

from __future__ import annotations

import _thread
import signal
from collections import OrderedDict

from drivers.keeper import plan as plans
from drivers.keeper.command import STEP
from drivers.keeper.container import ContainerRecipe
from drivers.keeper.host import HostRecipe
from drivers.keeper.joining import JoiningRecipe, WatchedJoiningRecipe
from drivers.keeper.plan import ContainerPlan, HostPlan, JoiningPlan, Words
from drivers.keeper.protocol import Failure
from drivers.keeper.recipe import Recipe
from drivers.kernel import process as p
from drivers.kernel.memory import keep_from_children, keep_newer_from_children
from drivers.kernel.program import load_routine

KEPT = 32  # programs; each has some 50 KB

_BY_CLONE = p.CLONE.VFORK | p.CLONE.PARENT_SETTID | signal.SIGCHLD
_ALWAYS = p.CLONE.VFORK | p.CLONE.PIDFD | p.CLONE.PARENT_SETTID | p.CLONE.CLEAR_SIGHAND


def prepare(text: str, bounding: frozenset[int]) -> Recipe:
    """The recipe of a plan, for a thread with this bounding set."""
    match plans.from_text(text):
        case ContainerPlan() as plan:
            recipe: Recipe = ContainerRecipe(plan, bounding)
        case JoiningPlan() as plan:
            joining = WatchedJoiningRecipe if plan.is_watched else JoiningRecipe
            recipe = joining(plan, bounding)
        case HostPlan() as plan:
            recipe = HostRecipe(plan, bounding)
    recipe.program.finish()
    return recipe


def carry_out(recipe: Recipe, fds: list[int], words: Words, spared: int) -> Failure | None:
    """Make a process; None if it executed its command. Raises OSError if there is none.

    `spared` is a descriptor that the thread needs afterwards.
    """
    program = recipe.program
    program.prepare((*recipe.values(fds, words, spared), *recipe.execution.values(words)))
    if recipe.prelude is not None:
        recipe.prelude.prepare(recipe.prelude_values(fds, spared))
        # the process will run on the routine and its program; this thread's registers point to
        # memory of its own, which the kernel may look at
        given = keep_from_children((load_routine()[1], program.span, _own_memory()))
        recipe.prelude.run_here()
        failed = recipe.prelude.failed()
        if failed is not None:
            return Failure("step", failed.step, failed.errno, failed.detail)
        keep_newer_from_children(given)  # which other threads may have got since
    if recipe.is_filtered:
        program.run_by_clone(int(_BY_CLONE))
    else:
        flags = int(_ALWAYS) | recipe.clone_flags
        group_fd = recipe.group_fd(fds)
        program.run(p.clone_args(flags, exit_signal=signal.SIGCHLD, cgroup_fd=group_fd))
    failed = program.failed()
    if failed is None:
        return None
    if failed.step == STEP:
        return recipe.execution.failure(program, words.argv[0])
    return Failure("step", failed.step, failed.errno, failed.detail)


def _own_memory() -> tuple[int, int]:
    """A part of this thread's stack: glibc has what belongs to a thread at its top."""
    ident = _thread.get_ident()
    return ident, ident + 1


class PreparedPrograms:
    """The programs that nobody uses now. For several threads: each call is atomic.

    `bounding` is the bounding set of each of those threads.
    """

    def __init__(self, bounding: frozenset[int]) -> None:
        self._bounding = bounding
        self._idle: OrderedDict[str, Recipe] = OrderedDict()

    def take(self, text: str) -> Recipe:
        """A program for a plan, for the caller alone."""
        return self._idle.pop(text, None) or prepare(text, self._bounding)

    def give_back(self, text: str, recipe: Recipe) -> None:
        """Keep it for the next; there is none for a program of the host, whose plan is its own."""
        if isinstance(recipe, HostRecipe):
            return
        self._idle[text] = recipe
        if len(self._idle) > KEPT:
            self._idle.popitem(last=False)
