"""The process of an exec, from its start to the end of its output."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import trio

from drivers.execution.base import ExecutionDriver, Process, Started, WindowSize
from drivers.log.base import Source
from supervisor.command import environment
from supervisor.execs.instance import ExecInstance, ExecSpec
from supervisor.output import Output
from supervisor.pipes import ChildEnds, HandOver, no_pipes, open_pipes
from supervisor.spec import ContainerSpec, merge_env

LINGER_S = 2.0  # dockerd's: what the process left behind may write this long after its end


def build_process(container: ContainerSpec, spec: ExecSpec, window: WindowSize) -> Process:
    """What the driver needs; what the exec leaves open is the container's."""
    return Process(
        key=container.id,
        argv=spec.argv,
        env=merge_env(environment(container, tty=spec.tty), spec.env),
        cwd=spec.workdir or container.workdir or "/",
        user=spec.user or container.user,
        group_add=container.isolation.group_add,
        terminal=window if spec.tty else None,
        privileged=spec.privileged,
        no_new_privs=container.isolation.no_new_privs,
    )


async def run_exec(
    instance: ExecInstance,
    driver: ExecutionDriver,
    *,
    stdin: bool,
    task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run it to the end of its output; `instance` hears of the end of the process at once.

    Without `stdin` it reads the end of file, or nothing from its terminal.
    """
    process = build_process(instance.container.spec, instance.spec, instance.terminal.size)
    with ExitStack() as held:
        held.callback(instance.end_output)
        held.callback(instance.terminal.close)
        async with trio.open_nursery() as feeding:
            async with trio.open_nursery() as copying:
                streams = _Streams(instance, stdin, copying, feeding)
                with streams.open() as child:
                    handing_over = HandOver(task_status, child.close, streams.take_terminal)
                    status = await driver.exec(process, child.pipes, task_status=handing_over)
                instance.ended(status)
                feeding.start_soon(streams.finish)
            feeding.cancel_scope.cancel()


class _Streams:
    """Our ends: copied to the client in one nursery, fed and ended in the other."""

    def __init__(
        self,
        instance: ExecInstance,
        stdin: bool,
        copying: trio.Nursery,
        feeding: trio.Nursery,
    ) -> None:
        self._instance = instance
        self._stdin = stdin
        self._copying = copying
        self._feeding = feeding
        self._outputs: list[Output] = []

    def open(self) -> ChildEnds:
        """The pipes; a terminal comes with the start instead."""
        if self._instance.spec.tty:
            return no_pipes()
        opened = open_pipes(stdin=self._stdin, keep=False)
        if opened.feed_fd is not None:
            self._feeding.start_soon(self._instance.stdin.pump, opened.feed_fd)
        self._copy("stdout", opened.stdout)
        self._copy("stderr", opened.stderr)
        return opened.child

    def take_terminal(self, fd: int) -> None:
        terminal = self._instance.terminal
        self._copy("stdout", terminal.open(fd))
        if self._stdin:
            self._feeding.start_soon(self._instance.stdin.pump, terminal.input_fd())

    def _copy(self, source: Source, output: Output) -> None:
        self._outputs.append(output)
        wanted = self._instance.spec
        is_wanted = wanted.attach_stdout if source == "stdout" else wanted.attach_stderr
        self._copying.start_soon(partial(self._copy_to_end, source, output, is_wanted))

    async def _copy_to_end(self, source: Source, output: Output, is_wanted: bool) -> None:
        with output:
            while data := await output.receive():
                if is_wanted:
                    await self._instance.deliver(source, data)

    async def finish(self) -> None:
        """The process has ended: nothing more is waited for, but for what may go on in a pipe."""
        if not self._instance.spec.tty:
            await trio.sleep(LINGER_S)
        for output in self._outputs:
            output.finish()
