"""What the doctor finds where something does not work; where all works, see tests/system."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import trio

from drivers import registry
from drivers.errors import DriverError, IncompatibleFilesystem, SpawnFailed, Unsupported
from drivers.execution import seccomp
from supervisor import doctor
from supervisor.config import DaemonConfig
from supervisor.doctor import Finding, Report, examine

Attempt = Callable[[str, Path], Awaitable[None]]


async def _works(name: str, directory: Path) -> None:
    (directory / "left").write_text("by the driver")


def _fails(error: Exception) -> Attempt:
    async def attempt(name: str, directory: Path) -> None:
        raise error

    return attempt


async def _hangs(name: str, directory: Path) -> None:
    await trio.sleep_forever()


def _is_empty(directory: Path) -> bool:
    return not list(directory.iterdir())


async def _storage_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Attempt
) -> tuple[Report, Finding]:
    """The report when only storage is tried, and there is but one driver."""
    monkeypatch.setattr(doctor, "_ATTEMPTS", {"storage": attempt})
    monkeypatch.setattr(registry, "names", lambda kind: ["overlay"])
    report = await examine(tmp_path)
    return report, next(f for f in report.findings if f.kind == "storage")


async def test_what_works_has_no_problem_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, found = await _storage_finding(monkeypatch, tmp_path, _works)
    assert found == Finding(kind="storage", name="overlay", works=True)
    assert _is_empty(tmp_path)


@pytest.mark.parametrize(
    ("error", "problem", "way_out"),
    [
        (
            IncompatibleFilesystem("overlay: not over nfs at /n: choose another --root"),
            "not over nfs at /n",
            "choose another --root",
        ),
        (Unsupported("overlay: no overlayfs: load it"), "no overlayfs", "load it"),
        (SpawnFailed("mount proc", 1), "mount proc: EPERM", None),
        (DriverError("overlay: disk: bad"), "disk: bad", None),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error", None),
        (ImportError("no module x"), "no module x", None),
    ],
)
async def test_a_failure_is_told_apart_from_what_would_help(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    problem: str,
    way_out: str | None,
) -> None:
    report, found = await _storage_finding(monkeypatch, tmp_path, _fails(error))
    assert (found.works, found.problem, found.help) == (False, problem, way_out)
    assert not report.usable
    assert _is_empty(tmp_path)


async def test_a_driver_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    _, found = await _storage_finding(monkeypatch, tmp_path, _hangs)
    assert found.problem == "it did not answer within 20 s"


async def test_a_root_that_is_not_there_is_not_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report, _ = await _storage_finding(monkeypatch, tmp_path / "a" / "b", _works)
    assert report.host["root"] == str(tmp_path)
    assert _is_empty(tmp_path)


def test_one_driver_of_each_kind_is_enough() -> None:
    works = [Finding(kind=kind, name="a", works=True) for kind in doctor._ATTEMPTS]
    broken = [Finding(kind=kind, name="b", works=False) for kind in doctor._ATTEMPTS]
    assert doctor._usable(works + broken)
    assert not doctor._usable(works[1:] + broken)
    assert not doctor._usable([*works, Finding(kind="host", name="k", works=False, needed=True)])


async def test_an_old_kernel_and_missing_capabilities_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.release", lambda: "5.10.0-8-amd64")
    monkeypatch.setattr(doctor, "NUMBER_OF", dict.fromkeys(doctor.NUMBER_OF, 63))
    found = {finding.name: finding for finding in doctor._host_findings()}
    assert found["kernel"].problem == "it is Linux 5.10.0-8-amd64"
    assert found["kernel"].help == "Creche needs Linux 5.14 or newer"
    assert "CAP_SYS_ADMIN" in (found["capabilities"].problem or "")


async def test_a_missing_library_or_program_is_told_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> tuple[int, int, int]:
        raise OSError("cannot open shared object file")

    monkeypatch.setattr("drivers.kernel.seccomp.version", missing)
    monkeypatch.setattr("supervisor.init._NAMES", ("no-such-init",))
    seccomp.check_supported.cache_clear()
    found = {finding.name: finding for finding in doctor._host_findings()}
    assert found["seccomp"].problem == "libseccomp.so.2 cannot be loaded"
    assert "libseccomp2" in (found["seccomp"].help or "")
    assert found["seccomp"].needed
    assert not found["init"].needed
    assert found["init"].help == "install the package tini"


async def test_the_report_is_json_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_ATTEMPTS", {})
    await doctor.print_findings(DaemonConfig(root=str(tmp_path)))
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert report.usable
