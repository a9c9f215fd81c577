"""Limits of block devices, by the real docker client on a loop device of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.cli.client import Client
from tests.system.daemon import Daemon

_MIB = 1 << 20
_RATE = 2 * _MIB  # bytes a second
_OPERATIONS = 20  # a second
_LARGE, _SMALL = "bs=256k count=24", "bs=4k count=60"  # three seconds of them
_LEAST_S = 1.0  # a first slice may go through at once
# past the page cache, whose writers nobody limits
_READ = "time -p dd if=/dev/disk of=/dev/null iflag=direct"
_WRITE = "time -p dd if=/dev/zero of=/dev/disk oflag=direct"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A block device of 16 MiB that nobody else uses."""
    file = tmp_path_factory.mktemp("disk") / "disk.img"
    file.write_bytes(bytes(16 * _MIB))
    attach = ["losetup", "--find", "--show", str(file)]
    name = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(["losetup", "--detach", name], check=True)


def _seconds(done: subprocess.CompletedProcess[str]) -> float:
    """What busybox's `time -p` says, in hundredths."""
    taken = re.search(r"^real ([\d.]+)$", done.stderr, re.MULTILINE)
    assert taken is not None, done.stderr
    return max(float(taken[1]), 0.01)


@pytest.mark.parametrize(
    ("option", "copy"),
    [
        (f"--device-read-bps={{}}:{_RATE}", f"{_READ} {_LARGE}"),
        (f"--device-write-bps={{}}:{_RATE}", f"{_WRITE} {_LARGE}"),
        (f"--device-read-iops={{}}:{_OPERATIONS}", f"{_READ} {_SMALL}"),
        (f"--device-write-iops={{}}:{_OPERATIONS}", f"{_WRITE} {_SMALL}"),
    ],
)
def test_a_device_is_not_used_faster_than_asked(
    creched: Daemon, device: str, option: str, copy: str
) -> None:
    def seconds(*options: str) -> float:
        given = ["--device", f"{device}:/dev/disk", *options, "busybox"]
        return _seconds(creched.docker("run", "--rm", *given, "sh", "-c", copy, check=True))

    freely, limited = seconds(), seconds(option.format(device))
    assert limited > _LEAST_S
    assert limited > 4 * freely


def test_what_runs_is_limited_by_an_update_of_the_api_and_set_free_again(
    creched: Daemon, device: str
) -> None:
    """Docker's client has no such option of `update`, its API has."""
    given = ["--device", f"{device}:/dev/disk", "busybox", "sleep", "100000"]
    name = creched.docker("run", "-d", *given, check=True).stdout.strip()
    api = Client(str(creched.socket))

    def seconds(rate: int) -> float:
        asked = {"BlkioDeviceReadBps": [{"Path": device, "Rate": rate}]}
        api.call("POST", f"/containers/{name}/update", body=asked)
        copy = f"{_READ} {_LARGE}"
        return _seconds(creched.docker("exec", name, "sh", "-c", copy, check=True))

    limited, hardly = seconds(_RATE), seconds(1 << 40)
    assert limited > _LEAST_S
    assert limited > 4 * hardly
    creched.docker("rm", "-f", name, check=True)


_SHOW_WEIGHTS = """cd /sys/fs/cgroup
cat blkio/blkio.bfq.weight blkio/blkio.bfq.weight_device io.bfq.weight io.weight 2>/dev/null; :"""


def _run(creched: Daemon, *options: str) -> subprocess.CompletedProcess[str]:
    return creched.docker("run", "--rm", *options, "busybox", "sh", "-c", _SHOW_WEIGHTS)


def test_a_weight_is_set_or_else_dropped_with_dockers_warning(creched: Daemon) -> None:
    done = _run(creched, "--blkio-weight", "500")
    assert done.returncode == 0, done.stderr
    if _run(creched).stdout:
        assert re.search(r"\b(500|4950)\b", done.stdout)  # v2's io.weight goes up to 10000
        assert done.stderr == ""
    else:
        assert "WARNING: Your kernel does not support Block I/O weight or" in done.stderr


def test_a_devices_weight_takes_its_scheduler(creched: Daemon, device: str) -> None:
    options = ("--blkio-weight-device", f"{device}:300")
    done = _run(creched, *options)
    if not _run(creched).stdout:
        assert "WARNING: Your kernel does not support Block I/O weight_device" in done.stderr
        assert done.returncode == 0
        return
    assert "it takes a kernel with BFQ, and for a device that this is its sched" in done.stderr
    scheduler = Path(f"/sys/block/{Path(device).name}/queue/scheduler")
    before = scheduler.read_text().partition("[")[2].partition("]")[0]
    scheduler.write_text("bfq")
    try:
        done = _run(creched, *options)
    finally:
        scheduler.write_text(before)  # the kernel keeps it for the next who has this device
    number = os.stat(device).st_rdev
    assert f"{os.major(number)}:{os.minor(number)} 300" in done.stdout, done.stderr
