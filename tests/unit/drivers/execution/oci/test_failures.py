"""What runtimes say, and what it means; the messages are runc 1.1's and crun 1.8's."""

from __future__ import annotations

import pytest

from drivers.errors import (
    CommandNotExecutable,
    CommandNotFound,
    DriverError,
    LimitUnavailable,
    SpawnFailed,
)
from drivers.execution.oci.failures import explain, last_message

_STARTING = "runc create failed: unable to start container process: "


def _explain(message: str, *argv: str) -> DriverError:
    return explain(
        message, runtime="runc", verb="create", argv=argv or ("nope",), rlimits={7: "nofile"}
    )


@pytest.mark.parametrize(
    ("message", "argv", "kind", "words"),
    [
        (
            _STARTING + 'exec: "nope": executable file not found in $PATH',
            ("nope",),
            CommandNotFound,
            'exec: "nope": executable file not found in $PATH',
        ),
        (
            _STARTING + 'exec: "/x/nope": stat /x/nope: no such file or directory',
            ("/x/nope",),
            CommandNotFound,
            'exec: "/x/nope": stat /x/nope: no such file or directory',
        ),
        (
            "executable file `nope` not found in $PATH: No such file or directory",
            ("nope",),
            CommandNotFound,
            'exec: "nope": executable file not found in $PATH',
        ),
        (
            "executable file `/x/nope` not found in $PATH: No such file or directory",
            ("/x/nope",),
            CommandNotFound,
            'exec: "/x/nope": stat /x/nope: no such file or directory',
        ),
        (
            _STARTING + 'exec: "/etc/passwd": permission denied',
            ("/etc/passwd",),
            CommandNotExecutable,
            'exec: "/etc/passwd": permission denied',
        ),
        (
            _STARTING + 'exec: "/etc": is a directory',
            ("/etc",),
            CommandNotExecutable,
            'exec: "/etc": is a directory',
        ),
        (
            "open executable: Permission denied",
            ("/etc/passwd",),
            CommandNotExecutable,
            'exec: "/etc/passwd": permission denied',
        ),
        (
            "open executable: Operation not permitted",
            ("/bin",),
            CommandNotExecutable,
            'exec: "/bin": permission denied',
        ),
        (
            "open executable: Operation not permitted",
            ("",),
            CommandNotFound,
            'exec: "": executable file not found in $PATH',
        ),
    ],
)
def test_a_command_that_cannot_be_run_is_told_in_dockers_words(
    message: str, argv: tuple[str, ...], kind: type[SpawnFailed], words: str
) -> None:
    error = _explain(message, *argv)
    assert isinstance(error, kind)
    assert error.detail == words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            _STARTING + "error during container init: error setting rlimits for ready process: "
            "error setting rlimit type 7: operation not permitted",
            "ulimit nofile cannot be set",
        ),
        ("setrlimit `RLIMIT_NOFILE`: Operation not permitted", "ulimit nofile cannot be set"),
        (
            _STARTING + "write /proc/self/oom_score_adj: permission denied",
            "oom_score_adj cannot be set",
        ),
        (
            _STARTING + 'unable to apply cgroup configuration: failed to write "4000": write '
            "/sys/fs/cgroup/cpuset/creche/box/cpuset.cpus: numerical result out of range",
            r"a limit of the set of processors \(cpuset.cpus\) cannot be set",
        ),
        (
            "writing file `memory.limit_in_bytes`: Device or resource busy",
            r"a limit of memory \(memory.limit_in_bytes\) cannot be set",
        ),
    ],
)
def test_a_limit_is_told_by_its_name(message: str, words: str) -> None:
    error = _explain(message)
    assert isinstance(error, LimitUnavailable)
    assert error.args[0].startswith(words.replace("\\", ""))


def test_anything_else_is_a_step_that_failed_with_the_runtimes_own_words() -> None:
    error = _explain('runc create failed: mounting "x": operation not permitted')
    assert isinstance(error, SpawnFailed)
    assert str(error) == 'runc create: EPERM (mounting "x": operation not permitted)'
    assert str(_explain("who knows")) == "runc create: who knows"


def test_a_path_in_the_message_does_not_make_a_limit_of_it() -> None:
    error = _explain("mkdir /sys/fs/cgroup/memory/creche/k: no space left on device")
    assert type(error) is SpawnFailed


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("", ""),
        ('{"level":"error","msg":"one"}\n{"level":"error","msg":"two"}\n', "two"),
        ('{"level":"error","msg":"one"}\n{"level":"warning","msg":"two"}\n', "one"),
        ('{"msg":"no level"}\n', "no level"),
        ("plain text\n", "plain text"),
        ('{"level":"error","msg":"whole"}\n{"level":"err', '{"level":"err'),
        ("[1]\n", ""),
    ],
)
def test_the_last_error_of_a_log_counts(log: str, message: str) -> None:
    assert last_message(log) == message
