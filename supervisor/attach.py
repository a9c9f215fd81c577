"""A client's hold on the streams of a container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from supervisor.container import Container
from supervisor.logs.broadcast import Listener


class Attachment:
    """The live output of a container, and its standard input."""

    def __init__(self, container: Container, output: Listener) -> None:
        self.output = output  # chunks as they are read, until the run's end
        self._container = container

    async def send_stdin(self, data: bytes) -> None:
        """Pass `data` to the container; kept if it has not started yet.

        Raises NotRunning once its standard input is closed.
        """
        await self._container.stdin.send(data)

    def close_stdin(self) -> None:
        """This client sends no more: the end of file, if the container takes one client only.

        A terminal has no end of file but the one that is typed.
        """
        spec = self._container.spec
        if spec.stdin_once and not spec.tty:
            self._container.stdin.close()


@contextlib.contextmanager
def attach(container: Container) -> Iterator[Attachment]:
    """Attach to a container, before it starts as well."""
    container.announce("attach")
    with container.output.listen() as output:
        yield Attachment(container, output)
