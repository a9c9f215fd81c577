"""Lists of system calls, carried out in real processes of this host."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.kernel import process as p
from drivers.kernel import routine
from drivers.kernel.calls import Call
from drivers.kernel.mount import AT_FDCWD
from drivers.kernel.program import ANY_ERROR, Failed, Label, Program, Result, Words

_SOURCES = Path(routine.__file__).parent
_SHARING = p.CLONE.VM | p.CLONE.VFORK
_COPYING = p.CLONE.VFORK
_ALWAYS = p.CLONE.PIDFD | p.CLONE.PARENT_SETTID | p.CLONE.CLEAR_SIGHAND


@pytest.fixture(params=[_SHARING, _COPYING], ids=["shared memory", "copied memory"])
def flags(request: pytest.FixtureRequest) -> int:
    return int(request.param | _ALWAYS)


@pytest.fixture(autouse=True)
def _signals_are_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(program: Program, flags: int) -> int:
    """Carry it out; the status of its process, which has been reaped."""
    program.run(p.clone_args(flags, exit_signal=signal.SIGCHLD))
    os.close(program.pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(program.pid, 0)[1])


def _execute(program: Program, script: str) -> Result:
    argv = Words((b"sh", b"-c", script.encode(), 0))
    return program.call(Call.EXECVE, b"/bin/sh", argv, Words((0,)))


@pytest.mark.parametrize(
    ("machine", "prefix"), [("x86_64", "x86_64-linux-gnu-"), ("aarch64", "aarch64-linux-gnu-")]
)
def test_the_machine_code_is_its_source(machine: str, prefix: str, tmp_path: Path) -> None:
    source = _SOURCES / f"routine_{machine}.S"
    subprocess.run([f"{prefix}as", source, "-o", tmp_path / "object"], check=True)
    extract = [f"{prefix}objcopy", "-O", "binary", "-j", ".text"]
    subprocess.run([*extract, tmp_path / "object", tmp_path / "code"], check=True)
    assert (tmp_path / "code").read_bytes() == routine.code(machine)


def test_the_routine_can_never_be_written_to() -> None:
    routine.load()
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "creche-routine" in line:
            assert line.split()[1] == "r-xp"
            break
    else:
        pytest.fail("the routine is not mapped")


def test_its_last_call_becomes_the_process(flags: int) -> None:
    program = Program()
    _execute(program, "exit 7")
    assert _run(program, flags) == 7
    assert program.failed() is None


def test_a_result_is_the_argument_of_a_later_call(flags: int, tmp_path: Path) -> None:
    program = Program()
    out = os.fsencode(tmp_path / "out")
    fd = program.call(Call.OPENAT, AT_FDCWD, out, os.O_WRONLY | os.O_CREAT, 0o600)
    program.call(Call.DUP3, fd, 1, 0)
    _execute(program, "echo written")
    assert _run(program, flags) == 0
    assert (tmp_path / "out").read_text() == "written\n"


def test_an_error_ends_the_process_and_names_its_step(flags: int) -> None:
    program = Program()
    program.step("go away")
    program.call(Call.CHDIR, b"/nowhere", detail="/nowhere")
    program.step("exec")
    execution = _execute(program, "exit 0")
    program.watch(execution)
    assert _run(program, flags) == 127
    assert program.failed() == Failed("go away", errno.ENOENT, "/nowhere")
    assert program.result(execution) is None


def test_an_expected_error_goes_on_at_the_label_and_success_at_the_other(flags: int) -> None:
    program = Program()
    missing, found, end = Label(), Label(), Label()
    program.call(Call.CHDIR, b"/nowhere", unless=errno.ENOENT, otherwise=missing)
    _execute(program, "exit 1")
    program.place(missing)
    program.call(Call.CHDIR, b"/", then=found)
    _execute(program, "exit 2")
    program.place(found)
    program.call(Call.CHDIR, b"/nowhere", unless=ANY_ERROR, otherwise=end)
    _execute(program, "exit 3")
    program.place(end)
    _execute(program, "exit 4")
    assert _run(program, flags) == 4


def test_another_error_than_the_expected_one_ends_it(flags: int) -> None:
    program = Program()
    program.call(Call.CHDIR, b"/etc/passwd", unless=errno.ENOENT)
    _execute(program, "exit 0")
    assert _run(program, flags) == 127
    assert program.failed() == Failed("", errno.ENOTDIR, "")


def test_a_program_runs_again_with_other_values(flags: int, tmp_path: Path) -> None:
    program = Program()
    fd, argv = program.slot(), program.slot()
    program.call(Call.DUP3, fd, 1, 0)
    execution = program.call(Call.EXECVE, b"/bin/sh", argv, Words((0,)))
    program.watch(execution)
    program.finish()
    for text in ("first", "second, which is longer"):
        with (tmp_path / text).open("w") as out:
            words = Words((b"sh", b"-c", f"echo {text}".encode(), 0))
            program.prepare([(fd, out.fileno()), (argv, words)])
            assert _run(program, flags) == 0
        assert (tmp_path / text).read_text() == f"{text}\n"


def test_a_failure_is_forgotten_in_the_next_run(flags: int) -> None:
    program = Program()
    path = program.slot()
    execution = program.call(Call.EXECVE, path, Words((b"true", 0)), Words((0,)))
    program.watch(execution)
    program.finish()
    program.prepare([(path, b"/nowhere")])
    assert _run(program, flags) == 127
    assert program.result(execution) == -errno.ENOENT
    program.prepare([(path, b"/bin/true")])
    assert _run(program, flags) == 0
    assert program.failed() is None


def test_a_process_that_cannot_be_made_is_an_error(flags: int) -> None:
    program = Program()
    _execute(program, "exit 0")
    with pytest.raises(OSError, match="Invalid argument"):
        program.run(p.clone_args(flags | p.CLONE.NEWUSER | 0x200, exit_signal=signal.SIGCHLD))
    assert program.pid == 0


def test_arguments_that_are_too_long_are_an_error() -> None:
    program = Program()
    argv = program.slot()
    with pytest.raises(OverflowError, match="too long"):
        program.prepare([(argv, Words((b"x" * 2**23,)))])
