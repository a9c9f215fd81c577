"""Containers made by a runtime of the Open Container Initiative: runc, crun, youki, runsc."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import trio

from drivers.errors import (
    Conflict,
    InvalidRequest,
    NotRunning,
)
from drivers.execution import cgroup
from drivers.execution.base import Command, Describe, ExitStatus, Pipes, Process, Started
from drivers.execution.cgroup import ControlGroup, Hierarchy
from drivers.execution.checks import check_can_end, check_command, check_key, check_process
from drivers.execution.ends import exit_status, looked_after
from drivers.execution.live import Live, LiveContainers, as_started, has_ended
from drivers.execution.mapped_dev import lend_devices
from drivers.execution.oci.bundle import Bundle, Job, make_directory
from drivers.execution.oci.config import Place, make_config
from drivers.execution.oci.groups import can_limit_swap, every_mount, path_for_runtime
from drivers.execution.oci.launch import Call, Launched, launch
from drivers.execution.oci.namespaces import open_namespaces
from drivers.execution.oci.process import further_process
from drivers.execution.oci.root import check_mount_points
from drivers.execution.oci.runtime import Runtime, find_runtime
from drivers.execution.oci.seccomp import linux_seccomp
from drivers.execution.resources import Limits
from drivers.execution.seccomp import rules_of
from drivers.execution.user import look_up
from drivers.keeper.client import Keeper
from drivers.keeper.protocol import MAX_FDS
from drivers.kernel.process import last_capability
from drivers.kernel.user_namespace import in_user_namespace
from drivers.threads import in_thread_or_here

DEFAULT_RUNTIME = "runc"
DEFAULT_DIRECTORY = Path("/run/creche/oci")
DELETE_S = 20.0

# The specification's `linux.seccomp` for a command; None is no filter.
ResolveSeccomp = Callable[[Command], Mapping[str, Any] | None]


class OciExecution(LiveContainers):
    """Has a runtime make each container; its processes are the keeper's children all the same.

    A start costs what the runtime costs, some 60 ms with runc. The runtime sees the container's
    mounts in a mount namespace of its own, so that nothing is ever mounted on the host.
    """

    def __init__(
        self,
        keeper: Keeper,
        runtime: Runtime,
        hierarchy: Hierarchy,
        *,
        cgroup_parent: str,
        bundles: Path,
        resolve_seccomp: ResolveSeccomp | None = None,
    ) -> None:
        super().__init__(every_mount(hierarchy), cgroup_parent)
        self.name = runtime.name
        self._keeper = keeper
        self._runtime = runtime
        self._bundles = bundles
        self._resolve_seccomp = resolve_seccomp
        self._last_capability = last_capability()
        self._numbers = itertools.count(1)

    async def run(
        self,
        key: str,
        describe: Describe,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        with self._running(key), ExitStack() as known:
            # the pidfd is closed at the very end: `kill` uses it until then
            async with AsyncExitStack() as held:
                command, launched, job = await self._create(key, describe, pipes, held)
                spawned, group = launched.spawned, self._group(key, command.limits)
                known.callback(os.close, spawned.pidfd)
                async with looked_after(self._keeper, key, spawned, group.kill):
                    await self._start(launched, job, command)
                    self._live[key] = Live(command, group, spawned)
                    task_status.started(as_started(spawned, launched.terminal_fd))
                    end = await self._keeper.wait(key)
                return exit_status(end, oom_killed=group.oom_kills() > 0)

    async def _create(
        self, key: str, describe: Describe, pipes: Pipes, held: AsyncExitStack
    ) -> tuple[Command, Launched, Job]:
        """The container, its process waiting for its start; `held` removes it."""
        bundle = self._bundle(key)
        with ExitStack() as opened:
            command, config = await trio.to_thread.run_sync(
                self._configure, describe, bundle, opened
            )
            held.push_async_callback(self._remove, key)
            job = await trio.to_thread.run_sync(_fill, bundle, command, config)
            terminal = command.terminal is not None
            points = [bundle.rootfs, *bundle.mount_points(command.mounts)]
            fds = [command.root_fd, *(mount.fd for mount in command.mounts)]
            call = Call(
                key=command.key,
                verb="create",
                arguments=self._runtime.create(bundle, job, command.key, terminal=terminal),
                argv=command.argv,
                bundle=bundle,
                job=job,
                pipes=pipes,
                terminal=terminal,
                mounts=tuple(zip(fds, map(str, points), strict=True)),
            )
            launched = await launch(self._keeper, self._runtime, call)
        return command, launched, job

    async def _start(self, launched: Launched, job: Job, command: Command) -> None:
        """Let the command run; the terminal is nobody's if it does not."""
        try:
            await self._runtime.start(job.log, command.key, command.argv)
        except BaseException:  # cancelled too: nobody takes the terminal over
            if launched.terminal_fd is not None:
                os.close(launched.terminal_fd)
            raise

    def _configure(
        self, describe: Describe, bundle: Bundle, opened: ExitStack
    ) -> tuple[Command, dict[str, Any]]:
        """The command and the container's configuration; blocking.

        Raises InvalidRequest, NotRunning, SpawnFailed.
        """
        command = describe()
        if in_user_namespace():
            command = lend_devices(command, opened, standard=False)
        check_command(command)
        check_can_end(command, has_groups=bool(self._hierarchy.mounts))
        if len(command.mounts) + len(("root", "stdin", "stdout", "stderr")) > MAX_FDS:
            raise InvalidRequest(f"too many mounts: {len(command.mounts)}")
        check_mount_points(command.root_fd)
        if not self._hierarchy.mounts:
            self._group(command.key, command.limits).create()  # makes none, and refuses limits
        identity = look_up(command.root_fd, command.user, command.group_add)
        resolve = self._resolve_seccomp
        place = Place(
            cgroups_path=path_for_runtime(self._hierarchy, self._group(command.key).path),
            rootfs=str(bundle.rootfs),
            mount_sources=tuple(map(str, bundle.mount_points(command.mounts))),
            namespace_paths=open_namespaces(command.namespaces, opened),
            seccomp=resolve(command) if resolve is not None else None,
            swap=can_limit_swap(self._hierarchy),
            lends_proc=command.namespaces.pid == "host" and in_user_namespace(),
            lends_sys=command.namespaces.network == "host" and in_user_namespace(),
            last_capability=self._last_capability,
        )
        return command, make_config(command, identity, place)

    async def exec(
        self,
        process: Process,
        pipes: Pipes,
        *,
        task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
    ) -> ExitStatus:
        live = self._of(process.key)
        check_process(process)
        if live.is_paused:
            raise Conflict(f"container {process.key} is paused: unpause it first")
        name = f"exec-{next(self._numbers)}"
        async with AsyncExitStack() as held:
            job = await trio.to_thread.run_sync(self._describe, live, process, name)
            held.push_async_callback(_remove_job, job)
            key = f"{process.key}/{name}"
            launched = await self._launch_exec(live, process, pipes, job, key)
            spawned = launched.spawned
            held.callback(os.close, spawned.pidfd)
            async with looked_after(self._keeper, key, spawned):
                task_status.started(as_started(spawned, launched.terminal_fd))
                end = await self._keeper.wait(key)
            return exit_status(end)

    def _describe(self, live: Live, process: Process, name: str) -> Job:
        """A job with the description of one more process; blocking."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            root = os.open(f"/proc/{live.spawned.pid}/root", flags)
        except OSError as error:
            raise NotRunning(f"container {process.key} is not running") from error
        try:
            if has_ended(live.spawned.pidfd):  # then the number may have been another's
                raise NotRunning(f"container {process.key} is not running")
            identity = look_up(root, process.user, process.group_add)
        finally:
            os.close(root)
        described = further_process(
            process, live.command, identity, last_capability=self._last_capability
        )
        job = self._bundle(process.key).job(name)
        job.write_process(described)
        return job

    async def _launch_exec(
        self, live: Live, process: Process, pipes: Pipes, job: Job, key: str
    ) -> Launched:
        terminal = process.terminal is not None
        call = Call(
            key=key,
            verb="exec",
            arguments=self._runtime.exec(job, process.key, terminal=terminal),
            argv=process.argv,
            bundle=self._bundle(process.key),
            job=job,
            pipes=pipes,
            terminal=terminal,
        )
        with self._alive(live):
            return await launch(self._keeper, self._runtime, call)

    async def clean(self, key: str) -> None:
        check_key(key)
        if key not in self._live:
            await self._remove(key)

    async def leftovers(self) -> list[str]:
        def look() -> set[str]:
            return {*os.listdir(self._bundles), *self._runtime.known()}

        there = await trio.to_thread.run_sync(look)
        return sorted(there - self._live.keys())

    async def _remove(self, key: str) -> None:
        """Remove all of a container: processes, the runtime's state, control group, bundle."""
        group = self._group(key)
        with trio.CancelScope(shield=True):  # each part is bounded
            group.kill()
            with trio.move_on_after(DELETE_S):
                await self._runtime.delete(key)
            await group.remove()
            await in_thread_or_here(self._bundle(key).remove)

    def _bundle(self, key: str) -> Bundle:
        return Bundle(self._bundles / key)

    def _group(self, key: str, limits: Limits | None = None) -> ControlGroup:
        """The group as the runtime makes it: in every mount, whatever the limits need."""
        return ControlGroup(self._hierarchy, self._parent, key, limits, in_every_mount=True)


def _fill(bundle: Bundle, command: Command, config: dict[str, Any]) -> Job:
    """Make the bundle on disk; blocking."""
    bundle.make(command.mounts)
    bundle.write_config(config)
    return bundle.job("create")


async def _remove_job(job: Job) -> None:
    with trio.CancelScope(shield=True):
        await in_thread_or_here(job.remove)


def open_driver(
    keeper: Keeper,
    cgroup_parent: str,
    directory: Path = DEFAULT_DIRECTORY,
    options: Mapping[str, str] | None = None,
) -> OciExecution:
    """The driver for one runtime, whose files are below `directory`.

    The option is `runtime`: a name to search for, or a path. Raises Unsupported, DriverError.
    """
    given = dict(options or {})
    asked = given.pop("runtime", DEFAULT_RUNTIME)
    for name in given:
        raise InvalidRequest(f"unknown exec-opt {name!r} for oci (known: runtime)")
    path = find_runtime(asked)
    own = directory / os.path.basename(path)
    for part in (own / "state", own / "bundles"):
        make_directory(part)
    return OciExecution(
        keeper,
        Runtime(path, own / "state", keeper),
        cgroup.detect(),
        cgroup_parent=cgroup_parent,
        bundles=own / "bundles",
        resolve_seccomp=_seccomp_of,
    )


def _seccomp_of(command: Command) -> dict[str, Any] | None:
    rules = rules_of(command.seccomp, command.capabilities)
    return None if rules is None else linux_seccomp(rules)
