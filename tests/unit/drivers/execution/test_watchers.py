"""Who may look into what is made beside it, and what waits for what."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from drivers.errors import Conflict, NotRunning
from drivers.execution.watchers import Watchers, pid_namespace_of


async def test_who_wants_to_look_waits_for_what_is_being_made() -> None:
    watchers, looks = Watchers(), trio.Event()

    async def look() -> None:
        async with watchers.watching("spy", 1):
            looks.set()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with watchers.making(1), watchers.making(2):
            nursery.start_soon(look)
            await wait_all_tasks_blocked()
            assert watchers.are_in(1)
            assert not looks.is_set()
        await looks.wait()
        assert not watchers.are_in(2)
        nursery.cancel_scope.cancel()
    assert not watchers.are_in(1)


async def test_nobody_is_in_the_way_of_itself() -> None:
    watchers = Watchers()
    async with watchers.watching("spy", 1):
        watchers.check_unseen("spy", 1)
        watchers.check_unseen("other", 2)
        with pytest.raises(Conflict, match="CAP_SYS_PTRACE"):
            watchers.check_unseen("other", 1)


def test_a_namespace_is_known_by_its_descriptor_and_by_a_process_in_it() -> None:
    own = os.stat("/proc/self/ns/pid").st_ino
    fd = os.open("/proc/self/ns/pid", os.O_RDONLY)
    assert pid_namespace_of(fd) == own
    os.close(fd)
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    pidfd = os.pidfd_open(pid)
    assert pid_namespace_of(pidfd) == own
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(NotRunning):
        pid_namespace_of(pidfd)
    os.close(pidfd)
