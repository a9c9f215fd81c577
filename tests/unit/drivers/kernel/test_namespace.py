"""What is seen of the namespaces of another process."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
import trio

from drivers.kernel.namespace import clone_mount_in, pidfd_of
from tests.native import Box, open_box


async def _clone(box: Box, pid: int, ticks: int) -> int:
    pidfd = pidfd_of(pid, ticks)
    try:
        return await trio.to_thread.run_sync(clone_mount_in, pidfd, "/dev/shm")
    finally:
        os.close(pidfd)


async def test_shared_memory_of_a_container_can_be_lent(tmp_path: Path) -> None:
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        script = "echo secret >/dev/shm/file; echo ready; sleep 100000"
        started, output = await box.start(nursery, script)
        await output.receive_some()
        mine = os.readlink("/proc/self/ns/mnt")
        fd = await _clone(box, started.pid, started.start_time_ticks)
        try:
            file = os.open("file", os.O_RDONLY, dir_fd=fd)
            assert os.read(file, 100) == b"secret\n"
            os.close(file)
        finally:
            os.close(fd)
        assert os.readlink("/proc/self/ns/mnt") == mine
        assert "other-namespace" not in {thread.name for thread in threading.enumerate()}
        await box.driver.terminate("box")


@pytest.mark.parametrize("target", ["/", "/proc/1/root", "/etc"])
async def test_no_link_of_the_container_is_followed(tmp_path: Path, target: str) -> None:
    """ATTACKS 4: who is in there decides what lies at a path."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        script = (
            f"umount /dev/shm; rmdir /dev/shm; ln -s {target} /dev/shm && echo ready; sleep 1000"
        )
        capabilities = frozenset({"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"})
        started, output = await box.start(
            nursery, script, capabilities=capabilities, seccomp="unconfined"
        )
        await output.receive_some()
        with pytest.raises(OSError, match="shm") as caught:
            await _clone(box, started.pid, started.start_time_ticks)
        assert caught.value.errno == errno.ELOOP
        await box.driver.terminate("box")


async def test_another_process_of_the_same_number_is_not_taken_for_it(tmp_path: Path) -> None:
    """ATTACKS 42."""
    async with open_box(tmp_path) as box, trio.open_nursery() as nursery:
        started, output = await box.start(nursery, "echo ready; sleep 100000")
        await output.receive_some()
        before = os.listdir("/proc/self/fd")
        with pytest.raises(ProcessLookupError):
            pidfd_of(started.pid, started.start_time_ticks + 1)
        assert os.listdir("/proc/self/fd") == before
        await box.driver.terminate("box")
    with pytest.raises(ProcessLookupError):
        pidfd_of(started.pid, started.start_time_ticks)
