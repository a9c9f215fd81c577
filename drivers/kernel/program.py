"""What a new process does before it executes its command, as a list of system calls.

The list is built first, by ordinary Python, and then carried out by a few instructions of machine
code (`routine.py`) in a process that clone3(2) makes with CLONE_VM | CLONE_VFORK: nothing is
copied, no interpreter runs in the new process, and its creator waits and then reads how far it
came. That is as fast as a C program; a forked interpreter spends most of its time in page faults.

    program = Program()
    program.step("mount proc")
    context = program.call(Call.FSOPEN, b"proc", FSOPEN_CLOEXEC)
    program.call(Call.FSCONFIG, context, FSCONFIG_CMD_CREATE, 0, 0, 0)

An argument is a number, bytes (the address of them, with a NUL behind), `Words`, the result of an
earlier call, or a `Slot`, whose value is given for each run: a program that was built once can be
carried out many times, one after the other. A failing call ends the process, unless its error is
expected (`unless`): then the list goes on at the label `otherwise`, or with the next call.

In memory, all in words of 64 bits, for the routine:

    header   number and three arguments of the call that makes the process, address of the first
             call, address of the present one
    call     number, addresses of 6 argument values, result, the next call's address, the address
             of the one after an expected error, -errno of that (0: none, 1: any)

The memory is a shared mapping, so that a process with a copy of everything else still tells its
results.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from drivers.kernel import routine
from drivers.kernel.calls import Call
from drivers.kernel.libc import check_raw, raw_syscall

ANY_ERROR = -1
MAX_CALLS = 4096

_CALL = struct.Struct("=Q6QqQQq")
_CALL_BYTES = _CALL.size
_RESULT_AT, _THEN_AT, _OTHERWISE_AT = 56, 64, 72
_WORD = struct.Struct("=Q")
_SIGNED = struct.Struct("=q")
_WORD_MASK = 2**64 - 1
_NOT_RUN = 2**62  # no call has this result
_MAX_ERRNO = 4095

# Where things are in the memory: header, clone_args, the pidfd, the pid, calls, data.
_HEADER = struct.Struct("=6Q")
_PRESENT_AT = 40
_CLONE_ARGS_AT = _HEADER.size
_CLONE_ARGS_WORDS = 11
_PIDFD_AT = _CLONE_ARGS_AT + 8 * _CLONE_ARGS_WORDS
_PID_AT = _PIDFD_AT + 8
_CALLS_AT = _PID_AT + 8
_DATA_AT = _CALLS_AT + _CALL_BYTES * MAX_CALLS
_MEMORY_BYTES = 8 * 1024 * 1024  # addresses, not memory: only what is written to is there


@dataclass(frozen=True, slots=True)
class Words:
    """Words in memory: numbers, and the addresses of bytes. For argv, iovec and the like."""

    items: tuple[int | bytes, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What a call will have returned, as an argument of later ones; `address` is where it is."""

    address: int


@dataclass(slots=True, eq=False)
class Label:
    """A place in a program; where it is gets known by `Program.place`."""

    address: int = 0
    waiting: list[int] = field(default_factory=list)  # words that are to hold it


@dataclass(frozen=True, slots=True)
class Slot:
    """A value that is given for each run; `address` is where it is."""

    address: int


Value = int | bytes | Words
Argument = Value | Result | Slot


@dataclass(frozen=True, slots=True)
class Failed:
    """The call that ended the process: the name of its step, errno, and what it was about."""

    step: str
    errno: int
    detail: str


@cache
def load_routine() -> tuple[Callable[[int], int], tuple[int, int]]:
    """What carries programs out, and where it is.

    Raises KeyError on a machine that has no routine, OSError.
    """
    return routine.load()


class Program:
    """A list of system calls: built by `call`, carried out by `run`."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _MEMORY_BYTES)
        self._base = _address_of(self._memory)
        self._next = _CALLS_AT
        self._free = _DATA_AT
        self._of_run = _DATA_AT  # where the data of the present run begin
        self._cells: dict[Value, int] = {}  # where values are, to be had twice
        self._nothing = self._cell(0)
        self._watched: list[Result] = []
        self._step = ""
        self._notes: list[tuple[str, str]] = []  # step and detail of each call

    # -- building

    def step(self, name: str) -> None:
        """Name what the calls from here on are for."""
        self._step = name

    def call(
        self,
        number: int,
        *arguments: Argument,
        detail: str = "",
        unless: int = 0,
        then: Label | None = None,
        otherwise: Label | None = None,
    ) -> Result:
        """Add a system call. `unless` is the errno that is expected, or ANY_ERROR.

        After success the list goes on at `then`, after the expected error at `otherwise`; without
        them with the next call.
        """
        cells, places = self._cells, [self._nothing] * 6
        for index, argument in enumerate(arguments):
            if isinstance(argument, Result | Slot):
                places[index] = argument.address
            else:
                places[index] = cells.get(argument) or self._cell(argument)
        at = self._next
        self._next = following = at + _CALL_BYTES
        if following > _DATA_AT:
            raise OverflowError(f"a program has {MAX_CALLS} calls at most")
        following += self._base
        expected = 1 if unless == ANY_ERROR else -unless
        _CALL.pack_into(self._memory, at, number, *places, _NOT_RUN, following, following, expected)
        if then is not None:
            self._refer(at + _THEN_AT, then)
        if otherwise is not None:
            self._refer(at + _OTHERWISE_AT, otherwise)
        self._notes.append((self._step, detail))
        return Result(self._base + at + _RESULT_AT)

    def place(self, label: Label) -> None:
        """Let a label stand for the next call."""
        label.address = self._base + self._next
        for at in label.waiting:
            _WORD.pack_into(self._memory, at, label.address)

    def _refer(self, at: int, label: Label) -> None:
        if label.address:
            _WORD.pack_into(self._memory, at, label.address)
        else:
            label.waiting.append(at)

    def slot(self) -> Slot:
        """A new slot; 0 until `prepare` gives it a value."""
        return Slot(self._put(bytes(8)))

    def _cell(self, value: Value) -> int:
        """The address of a word with the value, there once for all calls."""
        address = self._cells[value] = self._put(_WORD.pack(self._word(value)))
        return address

    def _word(self, value: Value) -> int:
        """A number, or the address of a copy of what it is."""
        match value:
            case int():
                return value & _WORD_MASK
            case bytes():
                return self._put(value + b"\0")
            case Words(items):
                words = [
                    item & _WORD_MASK if isinstance(item, int) else self._put(item + b"\0")
                    for item in items
                ]
                return self._put(struct.pack(f"={len(words)}Q", *words))

    def _put(self, data: bytes) -> int:
        """The address of a copy of the data, at a multiple of 8. Raises OverflowError."""
        at = self._free
        end = at + len(data)
        if end > _MEMORY_BYTES:
            raise OverflowError("a program's arguments are too long")
        self._memory[at:end] = data
        self._free = end + -end % 8
        return self._base + at

    def watch(self, result: Result) -> None:
        """Forget the result before each run, so that it can be asked for after it."""
        self._watched.append(result)

    def finish(self) -> None:
        """No call is added any more: what comes now is of one run."""
        self._of_run = self._free

    # -- carrying out

    def prepare(self, values: Iterable[tuple[Slot, Value]]) -> None:
        """Give the slots their values for the next run, and forget the last one."""
        self._free = self._of_run
        for slot, value in values:
            _WORD.pack_into(self._memory, slot.address - self._base, self._word(value))
        for result in self._watched:
            _SIGNED.pack_into(self._memory, result.address - self._base, _NOT_RUN)
        _WORD.pack_into(self._memory, _PID_AT, 0)

    def run(self, clone_args: Sequence[int]) -> None:
        """Make the process; returns when it has executed its command, or has ended.

        `clone_args` are the words of struct clone_args; the addresses in them are set here.
        Signals must be blocked in this thread; others go on meanwhile. Raises OSError if there is
        no process.
        """
        words = list(clone_args)
        words[1], words[3] = self._base + _PIDFD_AT, self._base + _PID_AT
        struct.pack_into(f"={len(words)}Q", self._memory, _CLONE_ARGS_AT, *words)
        self._make(Call.CLONE3, self._base + _CLONE_ARGS_AT, 8 * len(words), 0)

    def run_by_clone(self, flags: int) -> None:
        """As `run`, by clone(2), for a thread that may not use clone3; there is no pidfd.

        `flags` has the exit signal in its lowest byte.
        """
        self._make(Call.CLONE, flags, 0, self._base + _PID_AT)

    def _make(self, number: int, *arguments: int) -> None:
        _HEADER.pack_into(self._memory, 0, number, *arguments, self._base + _CALLS_AT, 0)
        routine_, _ = load_routine()
        check_raw(routine_(self._base))

    def run_here(self, after_each: Callable[[str], None] | None = None) -> None:
        """Carry the list out in this thread, call by call, but for what only a process can do.

        `after_each` hears the name of each call's step, when it has returned. Raises no error of a
        call: `failed` tells. Slow beside `run`.
        """
        at = self._base + _CALLS_AT
        end = self._base + self._next
        while at < end:
            _WORD.pack_into(self._memory, _PRESENT_AT, at)
            offset = at - self._base
            number, *places, _, then, otherwise, expected = _CALL.unpack_from(self._memory, offset)
            arguments = (_WORD.unpack_from(self._memory, p - self._base)[0] for p in places)
            result = raw_syscall(number, *arguments)
            _SIGNED.pack_into(self._memory, offset + _RESULT_AT, result)
            if after_each is not None:
                after_each(self._notes[(offset - _CALLS_AT) // _CALL_BYTES][0])
            if -_MAX_ERRNO <= result < 0:
                if expected not in (1, result):
                    return
                at = otherwise
            else:
                at = then

    @property
    def span(self) -> tuple[int, int]:
        """Where its memory begins and ends."""
        return self._base, self._base + _MEMORY_BYTES

    @property
    def pid(self) -> int:
        """The process as its parent sees it; 0 before it was made."""
        return int(_WORD.unpack_from(self._memory, _PID_AT)[0])

    @property
    def pidfd(self) -> int:
        """A descriptor of it, once it was made; the receiver's to close."""
        return int(_WORD.unpack_from(self._memory, _PIDFD_AT)[0])

    def result(self, of: Result) -> int | None:
        """What a watched call has returned: -errno for a failure, None if it did not come back."""
        (value,) = _SIGNED.unpack_from(self._memory, of.address - self._base)
        return None if value == _NOT_RUN else int(value)

    def failed(self) -> Failed | None:
        """Why the process ended before its command; None if the last call it began did not fail."""
        present = _WORD.unpack_from(self._memory, _PRESENT_AT)[0]
        if not present:
            return None
        value = self.result(Result(present + _RESULT_AT))
        if value is None or not -_MAX_ERRNO <= value < 0:
            return None
        step, detail = self._notes[(present - self._base - _CALLS_AT) // _CALL_BYTES]
        return Failed(step, -value, detail)


def _address_of(memory: mmap.mmap) -> int:
    """Where a mapping is; it must not be closed while that is used."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
