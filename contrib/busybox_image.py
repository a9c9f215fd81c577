"""Make an image of the host's static busybox: busybox_image.py OUT.tar [NAME:TAG].

The archive has the form that `docker save` writes and `docker load` reads. Standard library only.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
    "etc/group": "root:x:0:\nalice:x:1000:\nwheel:x:10:alice\n",
}
_DIRECTORIES = {"bin": 0o755, "etc": 0o755, "root": 0o700, "home/alice": 0o755, "tmp": 0o1777}
_CREATED = "2026-01-01T00:00:00Z"


def _layer(busybox: Path) -> bytes:
    """The only layer: busybox, a link for each applet, and the files of a tiny system."""
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, mode in _DIRECTORIES.items():
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, mode
            tar.addfile(member)
        _add_file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in listed.stdout.split():
            if applet != "busybox":
                member = tarfile.TarInfo(f"bin/{applet}")
                member.type, member.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(member)
        for name, text in _FILES.items():
            _add_file(tar, name, text.encode(), 0o644)
    return out.getvalue()


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    tar.addfile(member, io.BytesIO(data))


def write_image(out: Path, name: str) -> None:
    """Write the archive."""
    busybox = shutil.which("busybox")
    if busybox is None:
        sys.exit("busybox_image: no busybox in PATH: install the package busybox-static")
    layer = _layer(Path(busybox))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}
    config = json.dumps(
        {
            "architecture": machine.get(platform.machine(), "unknown"),
            "os": "linux",
            "created": _CREATED,
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["sh"],
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
            "history": [{"created": _CREATED, "created_by": "busybox_image.py"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer/layer.tar"]}]
    with tarfile.open(out, "w") as tar:
        _add_file(tar, config_name, config, 0o644)
        _add_file(tar, "layer/layer.tar", layer, 0o644)
        _add_file(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    write_image(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "busybox:latest")
