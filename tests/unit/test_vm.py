"""The virtual machine lane: one that fails or hangs is told from one that works."""

from __future__ import annotations

import importlib.util
import io
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.native import is_dead
from tests.system.daemon import REPOSITORY


def _load() -> ModuleType:
    """contrib is no package: its programs stand alone."""
    spec = importlib.util.spec_from_file_location("boot", REPOSITORY / "contrib/vm/boot.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


boot = _load()


def _follow(script: str, **limits: float) -> tuple[str, bytes]:
    """What was wrong with a program that stands for a machine, and its output."""
    out = io.BytesIO()
    return boot.follow(["sh", "-c", script], out, **limits), out.getvalue()


def test_a_machine_that_ends_well_is_shown_and_nothing_is_wrong() -> None:
    assert _follow("echo one; echo two") == ("", b"one\ntwo\n")


def test_an_emulator_that_fails_is_told_with_its_code() -> None:
    assert _follow("echo one; exit 3") == ("emulator ended with 3", b"one\n")


def test_a_machine_that_says_nothing_is_ended(tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/pid; exec sleep 1000"
    assert _follow(script, boot_s=0.5) == ("did not come up within 0.5 s", b"")
    assert is_dead(int((tmp_path / "pid").read_text()))


def test_a_machine_that_goes_on_for_too_long_is_ended() -> None:
    wrong, said = _follow("echo $$; while :; do echo; done", limit_s=0.5)
    assert wrong == "did not end within 0.5 s"
    assert is_dead(int(said.split()[0]))


def _results(path: Path, code: str) -> bytes:
    """What the guest sends, made as it makes it."""
    sent = path / "sent"
    sent.mkdir()
    for name, text in (("exit-code", code), ("journal.txt", "lines\n"), ("junit.xml", "<x/>")):
        (sent / name).write_text(text)
    return subprocess.run(["tar", "-C", sent, "-c", "."], check=True, capture_output=True).stdout


def test_the_exit_code_is_the_guests_and_its_files_come_back(tmp_path: Path) -> None:
    (tmp_path / "results.tar").write_bytes(_results(tmp_path, "5\n"))
    assert boot.unpack_results(tmp_path) == 5
    assert (tmp_path / "junit.xml").read_text() == "<x/>"


@pytest.mark.parametrize("code", ["", "yes\n"])
def test_a_guest_without_an_exit_code_has_not_succeeded(tmp_path: Path, code: str) -> None:
    (tmp_path / "results.tar").write_bytes(_results(tmp_path, code))
    assert boot.unpack_results(tmp_path) is None


def test_results_that_are_missing_or_cut_off_are_no_success(tmp_path: Path) -> None:
    assert boot.unpack_results(tmp_path) is None
    whole = _results(tmp_path, "0\n")
    for length in (0, 100, 700, 1600):
        (tmp_path / "results.tar").write_bytes(whole[:length])
        assert boot.unpack_results(tmp_path) is None


def test_the_disks_stay_as_they_are(tmp_path: Path) -> None:
    words = boot.command(tmp_path, tmp_path, shell=False)
    disks = [word for word in words if ".img" in word]
    assert len(disks) == 2
    assert all("snapshot=on" in disk for disk in disks)
