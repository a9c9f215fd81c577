"""Limits, pause, stats and running out of memory, by the real docker client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from supervisor.cli.client import Client
from tests.system.daemon import Daemon
from tests.system.docker import field, until

_FOREVER = ("sh", "-c", "while :; do :; done")


def _ticks(pid: int) -> int:
    """The processor time of a process so far. Source: proc_pid_stat(5), fields 14 and 15."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def test_pause_and_unpause(creched: Daemon, name: str) -> None:
    creched.docker("run", "-d", "--name", name, "busybox", *_FOREVER, check=True)
    creched.docker("pause", name, check=True)
    assert field(creched, name, ".State.Status") == "paused"
    assert "(Paused)" in creched.docker("ps", check=True).stdout
    pid = int(field(creched, name, ".State.Pid"))
    before = _ticks(pid)
    assert creched.docker("top", name, check=True).stdout.count("while") == 1
    again = creched.docker("pause", name)
    assert "is already paused" in again.stderr
    assert "unpause" in creched.docker("start", name).stderr
    assert "must be unpaused first" in creched.docker("rm", name).stderr
    assert _ticks(pid) == before
    creched.docker("unpause", name, check=True)
    until(lambda: _ticks(pid) > before)
    assert "is not paused" in creched.docker("unpause", name).stderr


@pytest.mark.parametrize("verb", [("stop", "-t", "1"), ("kill",), ("rm", "-f"), ("restart", "-t0")])
def test_a_paused_container_is_ended(creched: Daemon, name: str, verb: tuple[str, ...]) -> None:
    creched.docker("run", "-d", "--name", name, "busybox", *_FOREVER, check=True)
    pid = int(field(creched, name, ".State.Pid"))
    creched.docker("pause", name, check=True)
    creched.docker(*verb, name, check=True)
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_paused_container_does_not_outlive_a_killed_daemon(
    fresh_creched: Daemon, name: str
) -> None:
    fresh_creched.docker("run", "-d", "--name", name, "busybox", *_FOREVER, check=True)
    pid = int(field(fresh_creched, name, ".State.Pid"))
    fresh_creched.docker("pause", name, check=True)
    assert fresh_creched.stop(signal.SIGKILL) == -signal.SIGKILL
    fresh_creched.start()
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert field(fresh_creched, name, ".State.Status") == "exited"


def test_every_limit_reaches_the_container(creched: Daemon, name: str) -> None:
    options = [
        *("--memory", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"),
        *("--cpu-shares", "512", "--cpu-period", "50000", "--cpu-quota", "25000"),
        *("--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "20"),
    ]
    show = "grep -E '^(Cpus|Mems)_allowed_list' /proc/self/status; sleep 1000"
    creched.docker("run", "-d", "--name", name, *options, "busybox", "sh", "-c", show, check=True)
    until(lambda: "Mems" in creched.docker("logs", name).stdout)
    assert creched.docker("logs", name).stdout.split()[1::2] == ["0", "0"]
    found = json.loads(creched.docker("inspect", name).stdout)[0]["HostConfig"]
    assert (found["Memory"], found["MemorySwap"]) == (64 << 20, 96 << 20)
    assert (found["CpuPeriod"], found["CpuQuota"], found["CpuShares"]) == (50_000, 25_000, 512)
    assert (found["CpusetCpus"], found["PidsLimit"]) == ("0", 20)
    assert found["MemoryReservation"] == 32 << 20
    shown = creched.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", name).stdout
    assert shown.strip().endswith("/ 64MiB")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cpuset-cpus", "4000"), "Requested CPUs are not available - requested 4000, availab"),
        (("--cpuset-cpus", "x"), "Invalid value x for cpuset cpus: invalid format: x"),
        (("--cpus", "10000"), "Range of CPUs is from 0.01 to"),
        (("--memory", "1k"), "Minimum memory limit allowed is 6MB"),
        (("--device-read-bps", "/dev/nope:1mb"), "invalid block device '/dev/nope'"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    creched: Daemon, name: str, options: tuple[str, ...], said: str
) -> None:
    refused = creched.docker("create", "--name", name, *options, "busybox", "true")
    assert refused.returncode != 0
    assert said in refused.stderr
    assert creched.docker("inspect", name).returncode != 0


def test_update_changes_limits_of_what_runs(creched: Daemon, name: str) -> None:
    creched.docker("run", "-d", "--name", name, "busybox", "sleep", "1000", check=True)
    pid = int(field(creched, name, ".State.Pid"))
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
    options = ("--cpuset-cpus", "0", "--memory", "64m", "--pids-limit", "9", "--cpus", "1")
    creched.docker("update", *options, "--restart", "always", name, check=True)
    assert os.sched_getaffinity(pid) == {0}
    assert field(creched, name, ".HostConfig.Memory") == str(64 << 20)
    assert field(creched, name, ".HostConfig.RestartPolicy.Name") == "always"
    refused = creched.docker("update", "--cpu-quota", "5000", name)
    assert "CPU Quota cannot be updated as NanoCPUs has already been set" in refused.stderr
    refused = creched.docker("update", "--memory", "1k", name)
    assert "Minimum memory limit allowed is 6MB" in refused.stderr
    assert field(creched, name, ".HostConfig.Memory") == str(64 << 20)
    creched.docker("update", "--restart", "no", name, check=True)


def test_stats_are_what_the_container_has_burnt(creched: Daemon, name: str) -> None:
    script = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo done; exec sleep 1000"
    options = ("--cpus", "0.5", "--memory", "64m")
    creched.docker("run", "-d", "--name", name, *options, "busybox", "sh", "-c", script, check=True)
    until(lambda: "done" in creched.docker("logs", name).stdout)
    pid = int(field(creched, name, ".State.Pid"))
    measured_ns = _ticks(pid) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    query = {"stream": False, "one-shot": True}
    stats = Client(str(creched.socket)).call("GET", f"/containers/{name}/stats", query)
    told = stats["cpu_stats"]["cpu_usage"]
    assert 0.8 < told["total_usage"] / measured_ns < 1.25
    assert 0.5 < (told["usage_in_usermode"] + told["usage_in_kernelmode"]) / measured_ns < 1.5
    assert stats["cpu_stats"]["throttling_data"]["throttled_periods"] > 0
    assert stats["memory_stats"]["limit"] == 64 << 20
    assert 0 < stats["memory_stats"]["usage"] < 64 << 20
    assert stats["pids_stats"]["current"] == 1


def test_docker_stats_shows_the_share_of_a_processor(creched: Daemon, name: str) -> None:
    creched.docker("run", "-d", "--name", name, "--cpus", "0.3", "busybox", *_FOREVER, check=True)
    until(lambda: _ticks(int(field(creched, name, ".State.Pid"))) > 5)
    shown = creched.docker("stats", "--no-stream", "--format", "{{.CPUPerc}}", name, check=True)
    assert 5 < float(shown.stdout.strip().rstrip("%")) < 60
    ours = creched.crechectl("stats", "--no-stream", name, check=True).stdout.splitlines()
    assert ours[0].startswith("NAME")
    assert 5 < float(ours[1].split()[1].rstrip("%")) < 60


def test_top_takes_the_arguments_of_ps(creched: Daemon, name: str) -> None:
    creched.docker("run", "-d", "--name", name, "busybox", "sleep", "1000", check=True)
    pid = field(creched, name, ".State.Pid")
    usual = creched.docker("top", name, check=True).stdout.splitlines()
    assert usual[0].split()[:2] == ["UID", "PID"]
    chosen = creched.docker("top", name, "-o", "pid,comm", check=True).stdout.splitlines()
    assert [line.split() for line in chosen] == [["PID", "COMMAND"], [pid, "sleep"]]
    refused = creched.docker("top", name, "-o", "comm")
    assert "Couldn't find PID field in ps output" in refused.stderr


def test_running_out_of_memory_is_told(creched: Daemon, name: str) -> None:
    """ATTACKS 43."""
    script = "tail /dev/zero; echo survived; exec sleep 1000"
    listener = subprocess.Popen(
        ["docker", "events", "--filter", "event=oom", "--format", "{{.Action}} {{.Actor.ID}}"],
        env={**os.environ, "DOCKER_HOST": f"unix://{creched.socket}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with listener:
        try:
            assert listener.stdout is not None
            creched.docker(
                *("run", "-d", "--name", name, "--memory", "16m", "busybox", "sh", "-c", script),
                check=True,
            )
            until(lambda: "survived" in creched.docker("logs", name).stdout)
            until(lambda: field(creched, name, ".State.OOMKilled") == "true")
            assert field(creched, name, ".State.Status") == "running"
            assert listener.stdout.readline().split() == ["oom", field(creched, name, ".Id")]
        finally:
            listener.kill()
