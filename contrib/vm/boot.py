"""Boot the guest, show its tests' output, and end as they ended: boot.py BASE DIRECTORY.

BASE has the system's disk, kernel and initrd (base.sh); DIRECTORY has Creche's disk (lane.sh), and
gets the console and the results. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import IO

BOOT_S = 180.0  # until the tests' first word; 15 are usual
LIMIT_S = 1500.0  # for everything
DIED = 70  # our exit code when the guest has none to tell
_END_S = 10.0  # from the emulator's last word to its end
_TAIL_LINES = 60
_RESULTS = ("junit.xml", "exit-code", "journal.txt")


def command(base: Path, directory: Path, *, shell: bool) -> list[str]:
    """What runs the machine. Its disks are copies on write: both files stay as they are.

    Emulated, not virtualized: KVM in a machine that is virtual itself may be there and hang. What
    costs an emulator much is left out: wide vector instructions, the guards against leaks of a
    real processor, and clocks that are devices. Every program is at the same addresses, for what
    has been translated is found by its address: programs start in a third of the time then.
    """
    disks = (base / "root.img", directory / "lane.img")
    append = (
        "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off tsc=reliable norandmaps"
        " init_on_alloc=0"
    )
    return [
        *("setpriv", "--pdeathsig", "KILL"),  # a machine never outlives us
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem"),
        *("-smp", "2", "-m", "2048", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(base / "vmlinuz"), "-initrd", str(base / "initrd")),
        *("-append", append if shell else f"{append} systemd.unit=creche-tests.target"),
        *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        *(
            word
            for disk in disks
            for word in ("-drive", f"file={disk},if=virtio,format=raw,snapshot=on,cache=unsafe")
        ),
        *(_console_here() if shell else _ports(directory)),
    ]


def _console_here() -> list[str]:
    return ["-serial", "mon:stdio"]


def _ports(directory: Path) -> list[str]:
    """The console goes to a file, the tests' output to our pipe, their results to a file."""
    return [
        *("-serial", f"file:{directory / 'console.log'}"),
        *("-chardev", "stdio,id=output,signal=off"),
        *("-device", "virtserialport,chardev=output,name=creche.output"),
        *("-chardev", f"file,id=results,path={directory / 'results.tar'}"),
        *("-device", "virtserialport,chardev=results,name=creche.results"),
    ]


def follow(
    argv: list[str], out: IO[bytes], *, boot_s: float = BOOT_S, limit_s: float = LIMIT_S
) -> str:
    """Run a machine to its end and pass its output on; what was wrong with its end, or "".

    It has `boot_s` until its first output, and `limit_s` in all.
    """
    begun, up = time.monotonic(), False
    with (
        # its input stays open, or else the emulator unplugs the port
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as machine,
        selectors.DefaultSelector() as selector,
    ):
        assert machine.stdout is not None
        selector.register(machine.stdout, selectors.EVENT_READ)
        try:
            while (left_s := begun + (limit_s if up else boot_s) - time.monotonic()) > 0:
                if not selector.select(left_s):
                    break
                chunk = os.read(machine.stdout.fileno(), 1 << 16)
                if not chunk:
                    code = machine.wait(_END_S)
                    return f"emulator ended with {code}" if code else ""
                if not up:
                    up = True
                    print(f"vm: up after {time.monotonic() - begun:.0f} s", file=sys.stderr)
                out.write(chunk)
                out.flush()
        finally:
            machine.kill()
    return f"did not end within {limit_s} s" if up else f"did not come up within {boot_s} s"


def unpack_results(directory: Path) -> int | None:
    """Take the results out of what the guest sent; pytest's exit code, None if it is not there."""
    try:
        with tarfile.open(directory / "results.tar") as tar:
            for name in _RESULTS:
                file = tar.extractfile(f"./{name}")
                (directory / name).write_bytes(file.read() if file else b"")
        return int((directory / "exit-code").read_text())
    except (OSError, KeyError, ValueError, tarfile.ReadError):
        return None


def _tail(path: Path) -> None:
    if not path.exists():
        return
    lines = path.read_text(errors="replace").splitlines()
    print(f"vm: the end of {path}:", *lines[-_TAIL_LINES:], sep="\n  ", file=sys.stderr)


def run_tests(base: Path, directory: Path) -> int:
    """Run the tests that are on Creche's disk; pytest's exit code, or DIED."""
    for name in ("results.tar", "console.log", *_RESULTS):
        (directory / name).unlink(missing_ok=True)
    begun = time.monotonic()
    wrong = follow(command(base, directory, shell=False), sys.stdout.buffer)
    print(f"vm: the machine: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    code = unpack_results(directory)
    if wrong or code is None:
        print(f"vm: the guest {wrong or 'died without results'}", file=sys.stderr)
        code = DIED
    if code != 0:
        _tail(directory / "console.log")
        _tail(directory / "journal.txt")
    return code


def main() -> int:
    """Parse the arguments, and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shell", action="store_true", help="no tests: the guest's console here")
    parser.add_argument("base", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    if options.shell:
        return subprocess.call(command(options.base, options.directory, shell=True))
    # so that the machine is ended on the way out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return run_tests(options.base, options.directory)


if __name__ == "__main__":
    sys.exit(main())
