"""The same filter in fewer instructions.

The kernel translates a filter anew for every process that gets one, in a time that grows with its
length, and libseccomp writes one comparison for each call. Here the filter is asked what it says to
every number of a call; what it says to a run of numbers is then looked up by a binary search among
the runs. Where the answer depends on a call's arguments, those comparisons are kept.

Classic BPF on struct seccomp_data, as in `seccomp_bpf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from drivers.execution.seccomp_bpf import INSTRUCTION

_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_EQUAL, _ABOVE, _NOT_BELOW, _ANY_BIT = 0x15, 0x25, 0x35, 0x45
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_WORDS = 2**32
_LONGEST_JUMP = 255


@dataclass(frozen=True, slots=True)
class _Answer:
    """What becomes of the call."""

    action: int


@dataclass(frozen=True, slots=True)
class _Question:
    """A comparison: of the number if `at` says so, else of a word of an argument."""

    at: int  # the word's place in struct seccomp_data
    masks: tuple[int, ...]
    code: int
    operand: int
    yes: _Node
    no: _Node


_Node = _Answer | _Question
_Instruction = tuple[int, int, int, int]


class _Opaque(Exception):
    """The filter does something that is not understood here."""


def slim(program: bytes, architectures: Iterable[int]) -> bytes:
    """The filter `program`, which tells `architectures` apart; itself if it cannot be shorter."""
    instructions = list(INSTRUCTION.iter_unpack(program))
    try:
        code: list[_Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE_AT)]
        known = frozenset(architectures)
        for token in sorted(known):
            block = _assemble(_search(_runs(instructions, known, token)))
            code += [(_EQUAL, 1, 0, token), (_JUMP, 0, 0, len(block)), *block]
        other = next(token for token in range(_WORDS) if token not in known)
        code += _assemble(_search(_runs(instructions, known, other)))
    except _Opaque:
        return program
    slimmed = b"".join(INSTRUCTION.pack(*instruction) for instruction in code)
    return min(slimmed, program, key=len)


def _runs(
    instructions: Sequence[_Instruction], known: frozenset[int], architecture: int
) -> list[tuple[int, _Node]]:
    """Where runs of numbers begin to which the filter says the same, and what it says."""
    found: list[tuple[int, _Node]] = []
    number = 0
    while number < _WORDS:
        path = _Path(instructions, known, architecture, number)
        found.append((number, path.follow(0, None)))
        number = path.until
    return [next(run) for _, run in groupby(found, key=lambda pair: pair[1])]


class _Path:
    """The filter's way for one number; `until` is the first greater one that may have another."""

    def __init__(
        self,
        instructions: Sequence[_Instruction],
        architectures: frozenset[int],
        architecture: int,
        number: int,
    ) -> None:
        self._instructions = instructions
        self._architectures = architectures
        self._known = {_NUMBER_AT: number, _ARCHITECTURE_AT: architecture}
        self.until = _WORDS

    def follow(self, at: int, word: int | None, masks: tuple[int, ...] = ()) -> _Node:
        """What it comes to from an instruction on, `word` of the data being loaded."""
        while True:
            code, yes, no, operand = self._instructions[at]
            at += 1
            if code == _RETURN:
                return _Answer(operand)
            if code == _LOAD:
                word, masks = operand, ()
            elif code == _JUMP:
                at += operand
            elif word is None:
                raise _Opaque
            elif code == _AND and word not in self._known:
                masks = (*masks, operand)
            elif word in self._known:
                at += yes if self._holds(code, operand, word) else no
            elif code in (_EQUAL, _ABOVE, _NOT_BELOW, _ANY_BIT):
                to_yes, to_no = (self.follow(at + jump, word, masks) for jump in (yes, no))
                return _Question(word, masks, code, operand, to_yes, to_no)
            else:
                raise _Opaque

    def _holds(self, code: int, operand: int, word: int) -> bool:
        value = self._known[word]
        match code:
            case 0x15:
                result, turns = value == operand, [operand, operand + 1]
            case 0x25:
                result, turns = value > operand, [operand + 1]
            case 0x35:
                result, turns = value >= operand, [operand]
            case _:
                raise _Opaque
        if word == _ARCHITECTURE_AT and (code != _EQUAL or operand not in self._architectures):
            raise _Opaque  # it tells others apart
        if word == _NUMBER_AT:
            self.until = min([self.until, *(turn for turn in turns if turn > value)])
        return result


def _search(runs: Sequence[tuple[int, _Node]]) -> _Node:
    """A binary search for the run of a number."""
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    upper, lower = _search(runs[middle:]), _search(runs[:middle])
    return _Question(_NUMBER_AT, (), _NOT_BELOW, runs[middle][0], upper, lower)


def _assemble(top: _Node) -> list[_Instruction]:
    """Instructions for a tree; what is in it twice is there once. Raises _Opaque if too long."""
    order: list[_Node] = []
    _sort(top, order, set())
    order.reverse()  # jumps lead forward only
    begins: dict[_Node, int] = {}
    size = 1  # the number is loaded first
    for node in order:
        begins[node] = size
        size += _length(node)
    code: list[_Instruction] = [(_LOAD, 0, 0, _NUMBER_AT)]
    for node in order:
        if isinstance(node, _Answer):
            code.append((_RETURN, 0, 0, node.action))
            continue
        if node.at != _NUMBER_AT:
            code.append((_LOAD, 0, 0, node.at))
        code += [(_AND, 0, 0, mask) for mask in node.masks]
        yes, no = (begins[to] - len(code) - 1 for to in (node.yes, node.no))
        if max(yes, no) > _LONGEST_JUMP:
            raise _Opaque
        code.append((node.code, yes, no, node.operand))
    return code


def _length(node: _Node) -> int:
    if isinstance(node, _Answer):
        return 1
    return (node.at != _NUMBER_AT) + len(node.masks) + 1


def _sort(node: _Node, order: list[_Node], seen: set[_Node]) -> None:
    """Every node after those that it leads to."""
    if node in seen:
        return
    seen.add(node)
    if isinstance(node, _Question):
        _sort(node.yes, order, seen)
        _sort(node.no, order, seen)
    order.append(node)
