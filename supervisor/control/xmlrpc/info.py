"""The structs of getProcessInfo and getAllConfigInfo."""

from __future__ import annotations

import time
from typing import Any

from supervisor.container import Container
from supervisor.spec import ContainerSpec
from supervisor.states import ProcessState
from supervisor.unit_manager import AvailableProcess

PRIORITY = 999  # supervisor's default; the order here is that of `requires`


def process_info(container: Container) -> dict[str, Any]:
    """One process as supervisor describes it. Times are whole seconds since the epoch."""
    record = container.record
    state = record.supervisor_state
    log = str(container.directory / f"{container.id}-json.log")
    return {
        "name": container.name,
        "group": container.spec.group,
        "start": record.started_ns // 1_000_000_000,
        "stop": record.finished_ns // 1_000_000_000,
        "now": int(time.time()),
        "state": int(state),
        "statename": state.name,
        "spawnerr": record.error,
        "exitstatus": record.exit_code,
        "logfile": log,
        "stdout_logfile": log,
        "stderr_logfile": log,
        "pid": record.pid,
        "description": _description(container),
    }


def _description(container: Container) -> str:
    """What `status` shows behind the state, in supervisor's words."""
    record = container.record
    match record.supervisor_state:
        case ProcessState.RUNNING:
            up_s = max(0, int(time.time() - record.started_ns / 1e9))
            hours, rest = divmod(up_s % 86400, 3600)
            clock = f"{hours}:{rest // 60:02}:{rest % 60:02}"
            days = up_s // 86400
            length = f"{days} day{'s' if days > 1 else ''}, {clock}" if days else clock
            return f"pid {record.pid}, uptime {length}"
        case ProcessState.BACKOFF:
            return record.error or f"exit status {record.exit_code}, waits to start again"
        case ProcessState.FATAL:
            return record.error or f"exit status {record.exit_code} (process log may have details)"
        case ProcessState.STOPPED | ProcessState.EXITED:
            if not record.started_ns:
                return "Not started"
            ended = time.localtime(record.finished_ns / 1e9)
            return time.strftime("%b %d %I:%M %p", ended)
    return ""


def config_info(process: AvailableProcess) -> dict[str, Any]:
    """One process of the unit files as supervisor describes it."""
    spec: ContainerSpec = process.spec
    return {
        "name": spec.name,
        "group": process.group,
        "inuse": process.in_use,
        "autostart": spec.unit.autostart if spec.unit else False,
        "command": " ".join(spec.argv),
        "process_prio": PRIORITY,
        "group_prio": PRIORITY,
        "startsecs": int(spec.unit.ready_after_s) if spec.unit else 0,
        "startretries": spec.restart.give_up_after or 0,
        "stopsignal": spec.stop_signal or "SIGTERM",
        "stopwaitsecs": int(10 if spec.stop_grace_s is None else spec.stop_grace_s),
        "stdout_logfile": "auto",
        "stderr_logfile": "auto",
        "redirect_stderr": False,
        "uid": spec.user or "",
        "directory": spec.workdir or "",
    }
