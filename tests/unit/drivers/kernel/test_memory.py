"""What a process gives back of its memory, and passes on."""

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


_NEWER = """
import ctypes, mmap
from drivers.kernel.memory import keep_from_children, keep_newer_from_children

def address(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))

def is_copied(at):
    at_hand = False
    for line in open("/proc/self/smaps"):
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            start, end = (int(part, 16) for part in first.split("-"))
            at_hand = start <= at < end
        elif at_hand and first == "VmFlags:":
            return "dc" not in line.split()

kept = mmap.mmap(-1, 1 << 20)
given = keep_from_children([(address(kept), address(kept) + 1)])
newer = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print(is_copied(address(kept)), is_copied(address(newer)))
keep_newer_from_children(given)
print(is_copied(address(kept)), is_copied(address(newer)))
"""


def test_what_is_newer_is_kept_from_children_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NEWER], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\nTrue False\n"
