"""The command line of an OCI runtime: the verbs of its specification, and what runc added to them.

Source: OCI runtime command line interface, and runc(8), which crun, youki and runsc follow.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from pathlib import Path

import trio

from drivers.errors import DriverError, SpawnFailed, Unsupported, from_os_error
from drivers.execution.checks import RLIMITS
from drivers.execution.ends import looked_after
from drivers.execution.oci.bundle import Bundle, Job
from drivers.execution.oci.failures import explain, last_message
from drivers.keeper.client import Keeper
from drivers.keeper.plan import HostPlan, Words
from drivers.threads import in_thread_or_here

_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = [f"PATH={_SEARCH}"]  # nothing of the daemon's: it may hold secrets
_numbers = itertools.count(1)  # of calls
_RLIMIT_NAMES = {number: name for name, number in RLIMITS.items()}


def find_runtime(name: str) -> str:
    """The path of a runtime's program. Raises Unsupported."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SEARCH}")
    if found is None:
        raise Unsupported(f"there is no runtime {name}: install it, or give the path of another")
    return os.path.abspath(found)


class Runtime:
    """One runtime with the directory in which it keeps the states of its containers."""

    def __init__(self, path: str, state: Path, keeper: Keeper) -> None:
        self.path = path
        self._keeper = keeper
        self.name = os.path.basename(path)
        self._state = state

    def create(self, bundle: Bundle, job: Job, key: str, *, terminal: bool) -> list[str]:
        """The arguments that make a container, which waits for `start`."""
        console = ["--console-socket", job.socket] if terminal else []
        files = ["--bundle", str(bundle.directory), "--pid-file", str(job.pid_file)]
        return self._arguments(job.log, "create", *files, *console, key)

    def exec(self, job: Job, key: str, *, terminal: bool) -> list[str]:
        """The arguments that make one more process in a container."""
        console = ["--console-socket", job.socket] if terminal else []
        files = ["--process", str(job.process), "--pid-file", str(job.pid_file)]
        return self._arguments(job.log, "exec", "--detach", *files, *console, key)

    async def start(self, log: Path, key: str, argv: tuple[str, ...]) -> None:
        """Let the command of a container run. Raises SpawnFailed or one of its kinds."""
        await self._call_silently(log, "start", key, argv=argv)

    async def delete(self, key: str) -> None:
        """Kill what there is of a container and forget it; it may be gone already."""
        state = self._state / key
        if not state.exists():
            return
        # what it leaves in spite of that is removed, or reported, with the control group
        with contextlib.suppress(DriverError):
            await self._call_silently(Path(os.devnull), "delete", key, "--force")
        await in_thread_or_here(shutil.rmtree, state, True)

    def known(self) -> list[str]:
        """The containers that the runtime has a state of; blocking."""
        return os.listdir(self._state)

    def failure(self, log: Path, verb: str, argv: tuple[str, ...] = ()) -> DriverError:
        """The error for a call that failed, from what its log says; blocking."""
        try:
            message = last_message(log.read_text(errors="replace"))
        except OSError:
            message = ""
        return explain(
            message or "it failed and said nothing",
            runtime=self.name,
            verb=verb,
            argv=argv,
            rlimits=_RLIMIT_NAMES,
        )

    def _arguments(self, log: Path, *words: str) -> list[str]:
        options = ["--root", str(self._state), "--log", str(log), "--log-format", "json"]
        return [self.path, *options, *words]

    async def call(
        self,
        key: str,
        verb: str,
        arguments: list[str],
        fds: list[int],
        *,
        log: Path,
        argv: tuple[str, ...] = (),
        cwd: str = "/",
        mounts: tuple[tuple[int, str], ...] = (),
    ) -> None:
        """Run a call to its end; `fds` are its streams. Raises what it says of its failure.

        In a mount namespace of its own, in which `mounts` are attached: crun mounts itself
        somewhere, and may be killed in between, as the daemon may.
        """
        plan = HostPlan(
            cwd=cwd, mount_targets=[target for _, target in mounts], private_mounts=True
        )
        words = Words(argv=arguments, env=_ENVIRONMENT)
        name = f"{key}/{verb}-{next(_numbers)}"
        try:
            spawned = await self._keeper.spawn_host(
                name, plan, words, [*fds, *[fd for fd, _ in mounts]]
            )
        except SpawnFailed as error:  # the runtime's own, not that of the container's command
            raise SpawnFailed(f"{self.name} {verb}", error.errno, str(error)) from error
        try:
            async with looked_after(self._keeper, name, spawned):
                end = await self._keeper.wait(name)
        finally:
            os.close(spawned.pidfd)
        if end.status:
            raise await trio.to_thread.run_sync(self.failure, log, verb, argv)

    async def _call_silently(
        self, log: Path, verb: str, key: str, *options: str, argv: tuple[str, ...] = ()
    ) -> None:
        try:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise from_os_error(error, f"run {self.name} {verb}") from error
        try:
            arguments = self._arguments(log, verb, *options, key)
            await self.call(key, verb, arguments, [null] * 3, log=log, argv=argv)
        finally:
            os.close(null)
