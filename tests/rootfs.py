"""Small root file systems for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

BUSYBOX = "/bin/busybox"


def make_busybox_root(path: Path) -> Path:
    """The host's static busybox with a link for each applet, and the files of a tiny system."""
    for name in ("bin", "etc", "root", "tmp", "proc", "sys", "dev"):
        (path / name).mkdir(parents=True, exist_ok=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy(shutil.which("busybox") or BUSYBOX, path / "bin/busybox")
    applets = subprocess.run(
        [path / "bin/busybox", "--list"], check=True, capture_output=True, text=True
    )
    for applet in applets.stdout.split():
        link = path / "bin" / applet
        if not link.exists():
            link.symlink_to("busybox")
    (path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
    )
    (path / "etc/group").write_text("root:x:0:\nalice:x:1000:\nwheel:x:10:alice\n")
    return path
