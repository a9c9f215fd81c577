"""A real Debian root file system with a real database in it, under supervision."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.system.daemon import PATIENCE_S, REPOSITORY, Daemon

KEYS = 2000
UNIT = """
[container.redis]
image = "debian-redis:1"
command = ["redis-server", "--port", "0", "--unixsocket", "/run/redis/redis.sock", "--dir", "/data",
           "--save", "3600 1", "--daemonize", "no"]
user = "redis"
volumes = ["{data}:/data", "{run}:/run/redis"]
read_only = true
ready = {{ after_s = 1 }}
limits = {{ memory = "256MiB", pids = 50, cpus = 1.5 }}
restart = {{ policy = "always", delay_min_s = 0.1 }}
stop = {{ grace_s = 20 }}
"""


@pytest.fixture(scope="module")
def debian() -> Path:
    """A tar of Debian with redis-server; made once for this machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "creche"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / "debian-redis.tar"
    if not archive.exists():
        maker = REPOSITORY / "contrib" / "debian_rootfs.sh"
        subprocess.run(["sh", maker, archive, "redis-server"], check=True)
    return archive


class Redis:
    """As much of a client as the test needs. Source: the Redis serialization protocol."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rwb")

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, *words: str) -> bytes:
        parts = [b"*%d\r\n" % len(words)]
        parts += [b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words]
        self._file.write(b"".join(parts))
        self._file.flush()
        line = self._file.readline().rstrip()
        if line.startswith(b"$"):
            return self._file.read(int(line[1:]) + 2)[:-2]
        return line


def test_a_database_works_survives_kills_and_stops_cleanly(
    fresh_creched: Daemon, debian: Path, tmp_path: Path
) -> None:
    fresh_creched.docker("import", debian, "debian-redis:1", check=True)
    data, run = tmp_path / "data", tmp_path / "run"
    identity = fresh_creched.docker(
        "run", "--rm", "debian-redis:1", "sh", "-c", "id -u redis; id -g redis", check=True
    )
    uid, gid = map(int, identity.stdout.split())
    for directory in (data, run):
        directory.mkdir()
        os.chown(directory, uid, gid)
    (fresh_creched.units_dir / "redis.toml").write_text(UNIT.format(data=data, run=run))
    fresh_creched.supervisorctl("update", check=True)
    assert "RUNNING" in _wait_for_start(fresh_creched)

    with Redis(run / "redis.sock") as redis:
        for number in range(KEYS):
            assert redis.ask("SET", f"key:{number}", "x" * 100) == b"+OK"
        assert redis.ask("DBSIZE") == b":%d" % KEYS
        assert redis.ask("GET", "key:7") == b"x" * 100

    stopped = fresh_creched.supervisorctl("stop", "redis", check=True)
    assert stopped.stdout == "redis: stopped\n"
    log = fresh_creched.docker("logs", "redis", check=True).stdout
    assert "ready to accept connections" in log
    assert "DB saved on disk" in log
    assert "bye bye" in log
    code = fresh_creched.docker("inspect", "-f", "{{.State.ExitCode}}", "redis", check=True)
    assert code.stdout == "0\n"

    fresh_creched.supervisorctl("start", "redis", check=True)
    fresh_creched.supervisorctl("signal", "KILL", "redis", check=True)
    assert "RUNNING" in _wait_for_start(fresh_creched)
    with Redis(run / "redis.sock") as redis:
        assert redis.ask("DBSIZE") == b":%d" % KEYS


def _wait_for_start(daemon: Daemon) -> str:
    """The status line once the unit is neither starting nor waiting to start again."""
    while True:
        shown = daemon.supervisorctl("status", "redis").stdout
        if not any(state in shown for state in ("STARTING", "BACKOFF")):
            return shown
