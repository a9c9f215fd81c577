"""A person at a terminal: starts a program on one, reads what it shows, types."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from drivers.kernel.terminal import set_window_size

PATIENCE_S = 30.0
_READ_BYTES = 65536


class Terminal:
    """A program whose controlling terminal is ours; ends with the block."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self.fd, program = os.openpty()
        set_window_size(self.fd, rows, columns)
        self.screen = b""  # what has been shown and not been looked at
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # in place: it is the program's process afterwards
            stdin=program,
            stdout=program,
            stderr=program,
            env={**environment, "TERM": "xterm"},
        )
        os.close(program)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)
        self.process.kill()
        self.process.wait()

    def _read(self, end: float) -> bool:
        """Take what comes; whether there is more to come."""
        if not select.select([self.fd], [], [], max(0.0, end - time.monotonic()))[0]:
            raise AssertionError(f"nothing more came after {self.screen[-500:]!r}")
        try:
            data = os.read(self.fd, _READ_BYTES)
        except OSError:  # EIO: the program has closed it
            return False
        self.screen += data
        return bool(data)

    def until(self, text: str) -> str:
        """What is shown up to `text` and with it."""
        wanted, end = text.encode(), time.monotonic() + PATIENCE_S
        while wanted not in self.screen:
            assert self._read(end), f"{text!r} did not come, but {self.screen[-500:]!r}"
        cut = self.screen.index(wanted) + len(wanted)
        found, self.screen = self.screen[:cut], self.screen[cut:]
        return found.decode(errors="replace")

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        set_window_size(self.fd, rows, columns)

    def end(self) -> tuple[int, str]:
        """Wait for the program's end; its exit code, and what it showed until then."""
        end = time.monotonic() + PATIENCE_S
        while self._read(end):
            pass
        code = self.process.wait(PATIENCE_S)
        return code, self.screen.decode(errors="replace")
