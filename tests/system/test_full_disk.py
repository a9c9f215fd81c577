"""A disk that is full: a clear error, nothing lost or left, and all well once there is room."""

from __future__ import annotations

from tests.system.daemon import Daemon

NO_SPACE = "no space left on device"


def test_starting_and_loading_on_a_full_disk_say_so_and_work_again_later(
    creched_on_small_disk: Daemon,
) -> None:
    daemon = creched_on_small_disk
    daemon.docker("create", "--name", "before", "busybox", "echo", "hi", check=True)
    filled = daemon.docker(
        "run", "--name", "filler", "busybox", "sh", "-c",
        "dd if=/dev/zero of=/big bs=64k; while echo >> /small; do :; done",
    )  # fmt: skip
    assert "No space left on device" in filled.stderr

    refused = daemon.docker("run", "--rm", "busybox", "true")
    assert refused.returncode == 125
    assert NO_SPACE in refused.stderr.lower(), refused.stderr
    loaded = daemon.docker("load", "-i", daemon.image)
    assert loaded.returncode == 1
    assert NO_SPACE in loaded.stderr.lower(), loaded.stderr
    names = daemon.docker("ps", "-a", "--format", "{{.Names}}", check=True).stdout
    assert sorted(names.split()) == ["before", "filler"]

    daemon.docker("rm", "filler", check=True)
    assert daemon.docker("start", "-a", "before", check=True).stdout == "hi\n"
    assert daemon.docker("run", "--rm", "busybox", "echo", "again", check=True).stdout == "again\n"


def test_what_a_container_filled_is_free_when_it_has_removed_itself(
    creched_on_small_disk: Daemon,
) -> None:
    daemon = creched_on_small_disk
    for _ in range(3):
        script = "dd if=/dev/zero of=/big bs=64k; while echo >> /small; do :; done"
        filled = daemon.docker("run", "--rm", "busybox", "sh", "-c", script)
        assert "No space left on device" in filled.stderr
        ran = daemon.docker("run", "--rm", "busybox", "echo", "again", check=True)
        assert ran.stdout == "again\n"
