"""The threads that make processes: as many as are at work at once, and one more for the next.

To take a capability out of its bounding set a process needs a system call for each, of which
nothing is kept for the next: a tenth of a start. So a thread takes them out of its own, once, and
makes processes that are to have the same.
"""

from __future__ import annotations

import _thread
import signal
from _queue import SimpleQueue
from collections.abc import Iterable

from drivers.keeper.prepared import PreparedPrograms
from drivers.keeper.protocol import Failure
from drivers.keeper.spawn import Spawn
from drivers.kernel import process as p

MOST = 8  # crews; who would need another has it done by each process
_THREAD_BYTES = 256 * 1024  # of stack


class Crews:
    """One for every bounding set that is in use, and one that has the keeper's."""

    def __init__(self, last_capability: int) -> None:
        self._every = frozenset(range(last_capability + 1))
        self._crews = {self._every: _Crew(self._every, frozenset())}
        _thread.stack_size(_THREAD_BYTES)

    def begin(self, spawn: Spawn, bounding: Iterable[int] | None) -> None:
        """Have a process made; `spawn.is_done` tells when. None for who sets it by himself.

        Raises RuntimeError if it takes a thread, and none can be started.
        """
        wanted = self._every if bounding is None else self._every.intersection(bounding)
        crew = self._crews.get(wanted)
        if crew is None and len(self._crews) < MOST:
            crew = self._crews[wanted] = _Crew(wanted, self._every - wanted)
        (crew or self._crews[self._every]).begin(spawn)


class _Crew:
    """Threads with the same bounding set."""

    def __init__(self, bounding: frozenset[int], dropped: frozenset[int]) -> None:
        self._dropped = dropped
        self._programs = PreparedPrograms(bounding)
        self._waiting: SimpleQueue[Spawn] = SimpleQueue()
        self._idle = 0
        self._lock = _thread.allocate_lock()  # of the count

    def begin(self, spawn: Spawn) -> None:
        with self._lock:
            starts_thread = self._idle == 0
            self._idle -= not starts_thread
        if starts_thread:
            _thread.start_new_thread(self._work, ())
        self._waiting.put(spawn)

    def _work(self) -> None:
        # handlers are for the main thread, and the processes inherit what is blocked here
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        refusal = self._drop()
        is_spoilt = False
        while not is_spoilt:
            spawn = self._waiting.get()
            if refusal is None:
                is_spoilt = spawn.carry_out(self._programs)
            else:
                spawn.outcome, is_spoilt = refusal, True
            with self._lock:
                self._idle += not is_spoilt
            spawn.done()

    def _drop(self) -> Failure | None:
        """Take out of this thread's bounding set what its processes are not to have."""
        try:
            for number in self._dropped:
                p.prctl(p.PR.CAPBSET_DROP, number)
        except OSError as error:
            return Failure("step", "drop capabilities", error.errno or 0, "")
        return None
