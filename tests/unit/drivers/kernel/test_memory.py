"""What a process gives back of its memory."""

from __future__ import annotations

import subprocess
import sys

_FLOOD = """
import threading
from drivers.kernel.memory import give_back, share_one_arena

def resident_kib():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

def flood():
    begin.wait()
    parts = [b"x" * 1_000_000 for _ in range(12)]
    end.wait()
    del parts
    freed.wait()
    last.wait()

share_one_arena()
block = b"z" * (16 << 20)
del block  # from now on the allocator takes smaller ones for what it should keep
begin, end, freed, last = (threading.Barrier(4) for _ in range(4))
threads = [threading.Thread(target=flood) for _ in range(3)]
before = resident_kib()
for thread in threads:
    thread.start()
for barrier in (begin, end, freed):
    barrier.wait()
give_back()
print(resident_kib() - before)
last.wait()
"""


def test_what_threads_have_freed_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8 * 1024
