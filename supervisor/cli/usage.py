"""What containers use: stats, and their processes: top."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from supervisor.cli.client import Client, part
from supervisor.cli.errors import ApiError, Exit
from supervisor.cli.output import complain, for_person, show_json, show_table, size_text

_INTERVAL_S = 1.0
_COLUMNS = ["NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
_FROM_THE_TOP = "\033[H\033[J"  # ECMA-48: cursor home, erase what is below

Stats = dict[str, Any]  # the Engine API's ContainerStatsResponse


def stats(client: Client, args: Namespace) -> int:
    """Show what containers use, again and again."""
    code, before = _read(client, args.names)
    if args.names and not before:
        return code
    while True:
        time.sleep(_INTERVAL_S)  # a share of the processor is one of some time
        _, now = _read(client, list(before) if args.names else [])
        if args.json:
            show_json(list(now.values()))
        else:
            if for_person() and not args.no_stream:
                print(_FROM_THE_TOP, end="")
            show_table(_COLUMNS, [row(before.get(name, {}), s) for name, s in now.items()])
        if args.no_stream:
            return code
        before = now


def _read(client: Client, names: list[str]) -> tuple[int, dict[str, Stats]]:
    """The stats of each, or of all that run; one that is not there is told."""
    found: dict[str, Stats] = {}
    code: int = Exit.OK
    wanted = names or [c["Id"] for c in client.call("GET", "/containers/json")]
    for name in wanted:
        try:
            path = f"/containers/{part(name)}/stats"
            found[name] = client.call("GET", path, {"stream": False, "one-shot": True})
        except ApiError as error:
            if error.status != 404:
                raise
            if names:
                complain(str(error))
                code = Exit.FAILED
    return code, found


def row(before: Stats, now: Stats) -> list[str]:
    """One line of the table; the share of the processor is that between two readings."""
    memory = now["memory_stats"]
    used, limit = _memory_used(memory), memory.get("limit", 0)
    networks = (now.get("networks") or {}).values()
    received, sent = (sum(n[key] for n in networks) for key in ("rx_bytes", "tx_bytes"))
    blocks = now["blkio_stats"].get("io_service_bytes_recursive") or []
    read, written = (
        sum(b["value"] for b in blocks if b["op"].lower() == op) for op in ("read", "write")
    )
    return [
        now["name"].removeprefix("/"),
        f"{_cpu_percent(before, now):.2f}%",
        f"{size_text(used)} / {size_text(limit)}",
        f"{100 * used / limit if limit else 0:.2f}%",
        f"{size_text(received)} / {size_text(sent)}",
        f"{size_text(read)} / {size_text(written)}",
        str(now["pids_stats"].get("current", 0)),
    ]


def _memory_used(memory: Stats) -> int:
    """Without the files that were not used lately, as Docker's client counts."""
    detail = memory.get("stats", {})
    idle = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    used: int = memory.get("usage", 0)
    return used - idle if idle < used else used


def _cpu_percent(before: Stats, now: Stats) -> float:
    """Of one processor: 200 % are two of them."""
    old, new = before.get("cpu_stats", {}), now["cpu_stats"]
    if "system_cpu_usage" not in old or "system_cpu_usage" not in new:
        return 0.0
    used = new["cpu_usage"]["total_usage"] - old["cpu_usage"]["total_usage"]
    of = new["system_cpu_usage"] - old["system_cpu_usage"]
    return 100.0 * used / of * new["online_cpus"] if of > 0 and used > 0 else 0.0


def top(client: Client, args: Namespace) -> int:
    """Show the processes of a container."""
    query = {"ps_args": " ".join(args.ps_args) or None}
    found = client.call("GET", f"/containers/{part(args.name)}/top", query)
    if args.json:
        titles = found["Titles"]
        show_json([dict(zip(titles, line, strict=True)) for line in found["Processes"]])
    else:
        show_table(found["Titles"], found["Processes"])
    return Exit.OK
