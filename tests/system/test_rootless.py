"""creched as an ordinary user, by the real docker client."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.execution.hierarchy import DAEMONS_OWN, v2_mount
from tests.host import Host
from tests.system.rootless import UID, RootlessDaemon


def _running(group: Path | None = None, storage: str = "") -> Iterator[RootlessDaemon]:
    directory = Path(tempfile.mkdtemp(prefix="creche-test-"))
    daemon = RootlessDaemon(directory, f"/creche-test-{os.getpid()}-{directory.name[-8:]}")
    host = Host(daemon.cgroup_parent, directory)
    daemon.prepare()
    daemon.group, daemon.storage = group, storage
    daemon.start()
    try:
        daemon.load_image()
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()
    assert "control.bug" not in daemon.log, daemon.log
    assert host.left_over() == {}
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def creched() -> Iterator[RootlessDaemon]:
    yield from _running()


@pytest.fixture
def creched_on_vfs() -> Iterator[RootlessDaemon]:
    yield from _running(storage="vfs")


@pytest.fixture
def creched_with_group() -> Iterator[RootlessDaemon]:
    """A daemon to which a group of control group v2 is delegated, as systemd does it."""
    mount = v2_mount()
    assert mount is not None
    group = mount / f"creche-test-{os.getpid()}-delegated"
    group.mkdir()
    try:
        for place in (group, group / "cgroup.procs", group / "cgroup.subtree_control"):
            os.chown(place, UID, UID)
        yield from _running(group)
    finally:
        (group / DAEMONS_OWN).rmdir()
        group.rmdir()


def run(creched: RootlessDaemon, *arguments: str) -> str:
    """Standard output of `docker run --rm ...`, which must succeed."""
    return creched.docker("run", "--rm", *arguments, check=True).stdout


def test_a_container_runs_as_root_of_the_users_ids(creched: RootlessDaemon) -> None:
    out = run(creched, "busybox", "sh", "-c", "id -u; cat /proc/self/uid_map; echo $$")
    assert out.split() == ["0", "0", str(UID), "1", "1", "1950000000", "65536", "1"]


def test_its_layers_are_overlayfs(creched: RootlessDaemon) -> None:
    assert creched.docker("info", "-f", "{{.Driver}}", check=True).stdout == "overlay\n"
    script = "rm /etc/passwd; echo x >/etc/made; mkdir -p /d; chown 1000:1000 /d; ls /etc"
    made = creched.docker("run", "-d", "busybox", "sh", "-c", script, check=True).stdout.strip()
    creched.docker("wait", made, check=True)
    assert "made" in creched.docker("logs", made, check=True).stdout.split()
    layer = creched.directory / "root/storage/overlay" / made / "diff"
    assert ((layer / "etc/made").stat().st_uid, (layer / "d").stat().st_uid) == (
        UID,
        1_950_000_000 + 999,
    )
    again = creched.docker("start", "-a", made)
    assert "passwd" not in again.stdout
    creched.docker("rm", made, check=True)
    assert not layer.exists()


def test_what_it_changed_is_told(creched: RootlessDaemon) -> None:
    script = (
        "rm -r /home/alice /etc/passwd; mkdir /home/alice; echo x >/home/alice/new; echo >/etc/x"
    )
    run_to_end = creched.docker("run", "-d", "busybox", "sh", "-c", script, check=True)
    made = run_to_end.stdout.strip()
    creched.docker("wait", made, check=True)
    shown = set(creched.docker("diff", made, check=True).stdout.splitlines())
    changed = {"C /home", "C /home/alice", "A /home/alice/new"}
    assert shown == {"C /etc", "D /etc/passwd", "A /etc/x", *changed}
    creched.docker("rm", made, check=True)


def test_users_terminals_input_and_further_processes_work(creched: RootlessDaemon) -> None:
    out = creched.docker("run", "--rm", "-i", "-u", "1000", "busybox", "cat", input="said\n")
    assert out.stdout == "said\n"
    script = "tty; echo x >/dev/tty; echo y >/dev/stdout; exec sleep 100000"
    made = creched.docker("run", "-dt", "-u", "alice", "busybox", "sh", "-c", script, check=True)
    name = made.stdout.strip()
    done = creched.docker("exec", name, "sh", "-c", "id -u; id -G; cat /proc/1/comm", check=True)
    assert done.stdout.split()[0] == "1000"
    assert done.stdout.split()[-1] == "sleep"
    tty = creched.docker("exec", "-t", name, "sh", "-c", "tty; stat -c %u $(tty)", check=True)
    assert tty.stdout.split() == ["/dev/pts/1", "1000"]
    assert creched.docker("logs", name, check=True).stdout.split() == ["/dev/pts/0", "x", "y"]
    creched.docker("stop", "-t", "0", name, check=True)
    creched.docker("rm", name, check=True)


def test_it_is_confined_as_any_other(creched: RootlessDaemon) -> None:
    script = (
        "grep -E '^(CapEff|CapInh|Seccomp):' /proc/self/status; echo x >/dev/null;"
        "head -c 2 /dev/urandom | wc -c; ls -d /dev/* | wc -l; cat /sys/class/net/lo/carrier;"
        "cat /proc/kcore | wc -c; echo x >/proc/sys/kernel/hostname; mount -t tmpfs x /tmp"
    )
    done = creched.docker("run", "--rm", "busybox", "sh", "-c", script)
    words = done.stdout.split()
    assert words[:6] == [*("CapInh:", "0" * 16, "CapEff:", "00000000a80425fb", "Seccomp:", "2")]
    assert (words[6], words[8], words[9]) == ("2", "1", "0")
    assert "can't create /proc/sys/kernel/hostname" in done.stderr
    assert "mount: permission denied" in done.stderr


def test_binds_and_tmpfs_work(creched: RootlessDaemon) -> None:
    data = creched.directory / "home/data"
    options = ["-v", f"{data}:/data", "--tmpfs", "/t", "--read-only"]
    out = run(creched, *options, "busybox", "sh", "-c", "echo x >/data/x; echo y >/t/y; ls /t /etc")
    assert "y" in out.split()
    assert (data / "x").stat().st_uid == UID


def test_the_hosts_network_can_be_shared_though_not_changed(creched: RootlessDaemon) -> None:
    script = (
        "readlink /proc/self/ns/net; ls /sys/class/net; ls /sys/kernel /sys/fs/cgroup;"
        "touch /sys/x 2>/dev/null; ip link set lo down || echo refused"
    )
    options = ["--network", "host", "busybox", "sh", "-c", script]
    out = creched.docker("run", "--rm", *options, check=True).stdout.split()
    names = os.listdir("/sys/class/net")
    assert out[0] == os.readlink("/proc/self/ns/net")
    assert sorted(out[1 : len(names) + 1]) == sorted(names)
    assert out[len(names) + 1 :] == ["/sys/fs/cgroup:", "/sys/kernel:", "refused"]


def test_a_server_on_the_hosts_loopback_is_reached(creched: RootlessDaemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = ["--network", "host", "busybox", "nc", "127.0.0.1", port]
        made = creched.docker("run", "-d", *command, check=True).stdout.strip()
        server.settimeout(60)
        client, _ = server.accept()
        with client:
            client.sendall(b"from the host\n")
    creched.docker("wait", made, check=True)
    assert creched.docker("logs", made, check=True).stdout == "from the host\n"
    creched.docker("rm", made, check=True)


def test_devices_that_the_user_may_open_are_lent(creched: RootlessDaemon) -> None:
    options = ["--device", "/dev/zero:/dev/x", "--device", "/dev/full:/opt/full"]
    script = (
        "head -c 3 /dev/x | wc -c; echo x >/opt/full; stat -c %t,%T /dev/x /opt/full;"
        "mknod /made c 1 5 || echo refused"
    )
    done = creched.docker("run", "--rm", *options, "busybox", "sh", "-c", script, check=True)
    assert done.stdout.split() == ["3", "1,5", "1,7", "refused"]
    assert "No space left on device" in done.stderr


def test_a_privileged_container_has_them_all_and_no_other(creched: RootlessDaemon) -> None:
    script = "find /dev ! -type d ! -type l; test -e /dev/loop-control"
    done = creched.docker("run", "--rm", "--privileged", "busybox", "sh", "-c", script)
    may_open = {
        f"/dev/{name}"
        for name in os.listdir("/dev")
        if stat.S_ISCHR((found := os.lstat(f"/dev/{name}")).st_mode) and found.st_mode & 0o006
    }
    assert may_open - {"/dev/ptmx", "/dev/console"} <= set(done.stdout.split())
    assert "/dev/loop-control" not in done.stdout
    assert done.returncode == 1


def test_a_container_may_have_a_user_namespace_with_fewer_of_the_ids(
    creched: RootlessDaemon,
) -> None:
    options = ["--security-opt", "userns=map:uid=0:0:2000", "--device", "/dev/zero:/dev/x"]
    data = creched.directory / "home/shared"
    script = (
        "cat /proc/self/uid_map; readlink /proc/self/ns/user; stat -c %u /bin /etc/hosts;"
        "echo x >/data/x; echo x >/etc/made; head -c 3 /dev/x | wc -c; echo x >/dev/null;"
        "touch /y; chown 1000:1000 /y; stat -c %u /y; chown 2000 /y || echo none"
    )
    command = ["-v", f"{data}:/data", *options, "busybox", "sh", "-ec", script]
    own = run(creched, "busybox", "readlink", "/proc/self/ns/user").strip()
    out = run(creched, *command).split()
    assert out[:6] == ["0", "0", "1", "1", "1", "1999"]
    assert out[6] != own
    assert out[7:] == ["0", "0", "3", "1000", "none"]
    assert (data / "x").stat().st_uid == UID


def test_it_is_joined_and_has_terminals(creched: RootlessDaemon) -> None:
    options = ["--security-opt", "userns=map:uid=0:0:2000", "-u", "alice"]
    made = creched.docker("run", "-dt", *options, "busybox", "sleep", "100000", check=True)
    name = made.stdout.strip()
    script = "id -u; cat /proc/1/comm; stat -c %u $(tty)"
    out = creched.docker("exec", "-t", name, "sh", "-c", script, check=True).stdout.split()
    assert out == ["1000", "sleep", "1000"]
    creched.docker("rm", "-f", name, check=True)


_RUNC = ("--runtime", "runc")
# crun refuses a host that has v2 beside v1, also root's
_RUNTIMES = ["runc", *(["crun"] if v2_mount() == Path("/sys/fs/cgroup") else [])]


@pytest.mark.parametrize("runtime", _RUNTIMES)
def test_a_runtime_makes_containers_too(creched: RootlessDaemon, runtime: str) -> None:
    chosen = ("--runtime", runtime)
    script = "id -u; cat /proc/self/uid_map; ls /sys/fs/cgroup; echo err >&2; exit 7"
    done = creched.docker("run", "--rm", *chosen, "busybox", "sh", "-c", script)
    assert done.stdout.split() == ["0", "0", str(UID), "1", "1", "1950000000", "65536"]
    assert (done.stderr, done.returncode) == ("err\n", 7)
    done = creched.docker("run", "--rm", *chosen, "busybox", "nope")
    assert done.returncode == 127
    data = creched.directory / "home/by-runc"
    options = ["-v", f"{data}:/data", "--tmpfs", "/t", "-u", "1000", "-w", "/tmp", "--init"]
    options += ["--device", "/dev/zero:/dev/x"]
    script = "id -u; pwd; cat /proc/1/comm; head -c 3 /dev/x | wc -c"
    out = run(creched, *chosen, *options, "busybox", "sh", "-c", script)
    assert out.split() == ["1000", "/tmp", "docker-init", "3"]


def test_a_runtimes_container_is_joined_killed_and_has_terminals(creched: RootlessDaemon) -> None:
    options = [*_RUNC, "-t", "--security-opt", "userns=map:uid=0:0:2000", "-u", "alice"]
    made = creched.docker("run", "-d", *options, "busybox", "sleep", "100000", check=True)
    name = made.stdout.strip()
    pid = creched.docker("inspect", "-f", "{{.State.Pid}}", name, check=True).stdout.strip()
    script = "id -u; cat /proc/1/comm; tty; wc -l </proc/self/uid_map"
    out = creched.docker("exec", "-t", name, "sh", "-c", script, check=True).stdout.split()
    assert out == ["1000", "sleep", "/dev/pts/1", "2"]
    assert "freezer is not mounted" in creched.docker("pause", name).stderr
    creched.docker("stop", "-t", "0", name, check=True)
    assert not Path(f"/proc/{pid}").exists()
    creched.docker("rm", name, check=True)
    state = creched.directory / "run/oci/runc"
    assert os.listdir(state / "state") == os.listdir(state / "bundles") == []


def test_a_runtimes_container_may_share_the_hosts_network(creched: RootlessDaemon) -> None:
    script = (
        "readlink /proc/self/ns/net; ls /sys/kernel /sys/fs/cgroup;"
        "grep ' /sys' /proc/mounts | grep -v ' ro,'; touch /sys/x || echo refused"
    )
    options = [*_RUNC, "--network", "host", "busybox", "sh", "-c", script]
    out = creched.docker("run", "--rm", *options, check=True).stdout.split()
    own = os.readlink("/proc/self/ns/net")
    assert out == [own, "/sys/fs/cgroup:", "/sys/kernel:", "refused"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*_RUNC, "-m", "64m"], "memory cannot be limited here"),
        (["-m", "64m"], "memory cannot be limited here"),
        (["--pids-limit", "10"], "number of processes cannot be limited here"),
        (["--pid", "host"], "PID mode host: without a control group of its own"),
        ([*_RUNC, "--pid", "host"], "PID mode host: without a control group of its own"),
        (["--device", "/dev/loop-control"], "a rootless daemon lends only what its user may open"),
        (["--device", "/dev/zero:/dev/x:r"], "a rootless daemon cannot keep it to r"),
        (["--security-opt", "userns=auto"], "userns mode auto: a rootless daemon cannot show"),
        (["--security-opt", "userns=keep-id"], "userns mode keep-id: a rootless daemon cannot"),
        (["--security-opt", "userns=map:uid=0:0:65538"], "1 uids in it are not of this daemon"),
    ],
)
def test_what_cannot_be_had_is_an_error(
    creched: RootlessDaemon, options: list[str], message: str
) -> None:
    done = creched.docker("run", "--rm", *options, "busybox", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert message in done.stderr


def test_pause_and_stats_without_control_groups(creched: RootlessDaemon) -> None:
    made = creched.docker("run", "-d", "busybox", "sleep", "100000", check=True).stdout.strip()
    paused = creched.docker("pause", made)
    assert "freezer is not mounted" in paused.stderr
    stats = creched.docker("stats", "--no-stream", "--format", "{{.PIDs}}", made, check=True)
    assert stats.stdout.strip().isdecimal()
    assert creched.docker("top", made).returncode in (0, 1)
    creched.docker("rm", "-f", made, check=True)


def test_the_doctor_tells_what_is_missing(creched: RootlessDaemon) -> None:
    report = json.loads(creched.doctor())
    findings = {(f["kind"], f["name"]): f for f in report["findings"]}
    assert report["usable"]
    assert findings["storage", "overlay"]["works"]
    assert findings["execution", "native"]["works"]
    assert findings["execution", "runc"]["works"]
    assert not findings["cgroup", "memory"]["works"]
    own_ids = findings["host", "user namespaces"]
    assert own_ids["problem"] == "a rootless daemon cannot show files by other ids"
    assert own_ids["help"].endswith("such as map:uid=0:0:1000")


def test_a_delegated_group_holds_the_containers(creched_with_group: RootlessDaemon) -> None:
    creched = creched_with_group
    made = creched.docker("run", "-d", "busybox", "sleep", "100000", check=True).stdout.strip()
    shown = creched.docker("inspect", "-f", "{{.State.Pid}}", made, check=True)
    groups = Path(f"/proc/{shown.stdout.strip()}/cgroup").read_text().splitlines()
    assert creched.group is not None
    own = f"0::/{creched.group.name}{creched.cgroup_parent}/{made}"
    assert own in groups
    creched.docker("pause", made, check=True)
    assert creched.docker("exec", made, "true").returncode == 1
    creched.docker("unpause", made, check=True)
    assert "sleep 100000" in creched.docker("top", made, check=True).stdout
    creched.docker("rm", "-f", made, check=True)


def test_a_delegated_group_holds_a_runtimes_containers(
    creched_with_group: RootlessDaemon,
) -> None:
    creched = creched_with_group
    made = creched.docker("create", *_RUNC, "busybox", "sleep", "100000", check=True)
    name = made.stdout.strip()
    done = creched.docker("start", name)
    if v2_mount() == Path("/sys/fs/cgroup"):
        shown = creched.docker("inspect", "-f", "{{.State.Pid}}", name, check=True)
        groups = Path(f"/proc/{shown.stdout.strip()}/cgroup").read_text().splitlines()
        assert creched.group is not None
        assert groups == [f"0::/{creched.group.name}{creched.cgroup_parent}/{name}"]
        creched.docker("pause", name, check=True)
        creched.docker("unpause", name, check=True)
    else:  # beside v1 runc takes that, which is nobody's but root's
        assert "permission denied" in done.stderr
    creched.docker("rm", "-f", name, check=True)


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_the_hosts_processes_can_be_shared_where_a_group_ends_what_is_left(
    creched_with_group: RootlessDaemon, runtime: str
) -> None:
    creched = creched_with_group
    script = (
        f"cat /proc/{os.getpid()}/comm; readlink /proc/self/ns/pid; sleep 100000 & echo $!;"
        "echo x >/proc/sys/kernel/hostname || echo protected"
    )
    options = ["--runtime", runtime, "--pid", "host", "busybox", "sh", "-c", script]
    done = creched.docker("run", "--rm", *options)
    if runtime == "runc" and v2_mount() != Path("/sys/fs/cgroup"):
        assert "permission denied" in done.stderr  # as above
        return
    comm, namespace, left, protected = done.stdout.splitlines()
    assert comm == Path("/proc/self/comm").read_text().strip()
    assert namespace == os.readlink("/proc/self/ns/pid")
    assert not Path(f"/proc/{left}").exists()
    assert protected == "protected"


def test_a_user_without_ids_is_told_what_would_help(creched: RootlessDaemon) -> None:
    subuid = creched.directory / "etc/subuid"
    ids = subuid.read_text()
    subuid.write_text("somebody:1:1\n")
    try:
        done = creched.call("--root", str(creched.directory / "home/new"))
        report = json.loads(creched.doctor())
    finally:
        subuid.write_text(ids)
    assert done.returncode == 1
    assert "error: rootless: nurse has no ids in /etc/subuid: `usermod --add-sub" in done.stderr
    assert not report["usable"]
    finding = next(f for f in report["findings"] if f["name"] == "rootless")
    assert finding["problem"] == "nurse has no ids in /etc/subuid"
    assert finding["help"].startswith("`usermod")


def test_it_restarts_itself_and_is_still_rootless(creched: RootlessDaemon) -> None:
    made = creched.docker("create", "busybox", "true", check=True).stdout.strip()
    before = creched.log.count("daemon.ready")
    creched.restart_itself()
    assert creched.log.count("daemon.ready") == before + 1
    creched.docker("start", "-a", made, check=True)
    creched.docker("rm", made, check=True)


def test_who_may_trace_is_joined_all_the_same(creched: RootlessDaemon) -> None:
    options = ["--cap-add", "SYS_PTRACE", "busybox", "sleep", "100000"]
    made = creched.docker("run", "-d", *options, check=True).stdout.strip()
    assert creched.docker("exec", made, "id", "-u", check=True).stdout == "0\n"
    assert creched.docker("exec", "-u", "1000", made, "id", "-u", check=True).stdout == "1000\n"
    creched.docker("rm", "-f", made, check=True)


def test_layers_may_be_copies(creched_on_vfs: RootlessDaemon) -> None:
    out = run(creched_on_vfs, "-u", "1000", "busybox", "sh", "-c", "stat -c %u /bin; id -u")
    assert out.split() == ["0", "1000"]
