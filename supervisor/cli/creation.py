"""From the options of `run` to the body of a container's creation."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from supervisor.cli import terminal
from supervisor.cli.isolation import isolation_config
from supervisor.cli.limits import limits_of
from supervisor.cli.values import UsageError, size


def body_of(args: Namespace, *, attached: bool) -> dict[str, Any]:
    """The body of POST /containers/create. Raises UsageError naming the option."""
    return {
        "Image": args.image,
        "Cmd": args.command or None,
        "Entrypoint": None if args.entrypoint is None else shlex.split(args.entrypoint),
        "Env": environment(args.env_file, args.env),
        "Labels": pairs("--label", args.label),
        "User": args.user,
        "WorkingDir": args.workdir,
        "Hostname": args.hostname,
        "Domainname": args.domainname,
        "Tty": args.tty,
        "OpenStdin": args.interactive,
        "StdinOnce": args.interactive and attached,
        "AttachStdin": args.interactive and attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "StopSignal": args.stop_signal,
        "StopTimeout": args.stop_timeout,
        "HostConfig": _host_config(args),
    }


def _host_config(args: Namespace) -> dict[str, Any]:
    return {
        "Binds": [bind(text) for text in args.volume] or None,
        "Mounts": [mount(text) for text in args.mount] or None,
        "Tmpfs": {text.partition(":")[0]: text.partition(":")[2] for text in args.tmpfs} or None,
        "NetworkMode": args.network,
        "PortBindings": {text: [{}] for text in args.publish} or None,
        "ExtraHosts": args.add_host or None,
        "Dns": args.dns or None,
        "RestartPolicy": restart_policy(args.restart),
        "AutoRemove": args.rm,
        "ConsoleSize": terminal.size() if args.tty else None,
        "LogConfig": {"Type": args.log_driver, "Config": pairs("--log-opt", args.log_opt)},
        **limits_of(args),
        "OomScoreAdj": args.oom_score_adj,
        "Runtime": args.runtime,
        "ShmSize": size("--shm-size", args.shm_size),
        "ReadonlyRootfs": args.read_only,
        **isolation_config(args),
    }


def pairs(option: str, items: list[str]) -> dict[str, str]:
    """NAME=VALUE items; a bare name has an empty value."""
    found = dict(item.partition("=")[::2] for item in items)
    if "" in found:
        raise UsageError(f"{option} ={found['']}: not NAME=VALUE")
    return found


def environment(files: list[str], items: list[str]) -> list[str]:
    """Variables of files, then of options; a bare name takes our own value, if it has one."""
    lines: list[str] = []
    for file in files:
        try:
            text = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--env-file {file}: {error}") from error
        lines += [line for line in map(str.lstrip, text.splitlines()) if line[:1] not in ("", "#")]
    found = []
    for item in (*lines, *items):
        name, equals, _ = item.partition("=")
        if not name or name != name.strip():
            raise UsageError(f"--env {item}: not NAME=VALUE")
        if equals:
            found.append(item)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found


def restart_policy(text: str) -> dict[str, Any]:
    """`on-failure:3` and its like."""
    name, colon, count = text.partition(":")
    if colon and not count.isdecimal():
        raise UsageError(f"--restart {text}: the number of times must be a number")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def bind(text: str) -> str:
    """`HOST:PATH[:ro]` with an absolute HOST; a name would be a volume, which the daemon judges."""
    source, colon, rest = text.partition(":")
    if not colon:
        raise UsageError(f"--volume {text}: not HOST:PATH (anonymous volumes are not there yet)")
    if source.startswith("."):
        source = str(Path(source).resolve())
    return f"{source}:{rest}"


def mount(text: str) -> dict[str, Any]:
    """`type=bind,source=/a,target=/b,readonly` and its like for tmpfs."""
    made: dict[str, Any] = {"Type": "volume"}
    options: dict[str, Any] = {}
    for item in text.split(","):
        name, equals, value = item.partition("=")
        match name:
            case "type":
                made["Type"] = value
            case "source" | "src":
                made["Source"] = str(Path(value).resolve()) if value.startswith(".") else value
            case "target" | "dst" | "destination":
                made["Target"] = value
            case "readonly" | "ro":
                made["ReadOnly"] = not equals or value in ("1", "true")
            case "bind-propagation":
                options["Propagation"] = value
            case "bind-nonrecursive":
                options["NonRecursive"] = not equals or value in ("1", "true")
            case "tmpfs-size":
                options["SizeBytes"] = size("tmpfs-size", value)
            case "tmpfs-mode":
                options["Mode"] = _octal(value)
            case _:
                raise UsageError(f"--mount {text}: unknown field {name!r}")
    if options:
        made["BindOptions" if made["Type"] == "bind" else "TmpfsOptions"] = options
    return made


def _octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError as error:
        raise UsageError(f"tmpfs-mode={text}: not an octal number (as 1777)") from error
