"""The daemon's own settings: options, and the same in creche.toml."""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from drivers.errors import ConfigError
from supervisor import toml
from supervisor.log import Level

DEFAULT_FILE = Path("/etc/creche/creche.toml")
VERSION = "0.1.0"


class RuntimeTable(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"
):
    """[runtimes.NAME]"""

    path: str


class DaemonConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"
):
    """Every setting; the file's keys are the options' names."""

    root: str = "/var/lib/creche"
    run_dir: str = "/run/creche"
    socket: str = ""  # RUN-DIR/creche.sock if empty
    socket_group: str = ""  # may use the socket besides root
    units: str = "/etc/creche/containers.d"
    exec_driver: str = "native"  # a driver, or a runtime's name
    exec_opt: dict[str, str] = {}
    runtimes: dict[str, RuntimeTable] = {}  # OCI runtimes besides those found in PATH
    storage_driver: str = ""  # by what is there and what works if empty
    storage_opt: dict[str, str] = {}
    log_driver: str = "json-file"
    log_opt: dict[str, str] = {}
    log_level: Level = "info"
    cgroup_parent: str = "/creche"
    userns_remap: str = ""  # for containers that ask for nothing: "auto", or USER[:GROUP]
    userns_pool_start: int = 0  # of the ids for "auto"; as /etc/subuid has them for creche if 0
    userns_pool_size: int = 0

    @property
    def socket_path(self) -> Path:
        """Where the control socket is."""
        return Path(self.socket) if self.socket else Path(self.run_dir) / "creche.sock"


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks the daemon to do."""

    config: DaemonConfig
    action: Literal["serve", "check", "doctor"] = "serve"


class _Parser(argparse.ArgumentParser):
    """Names the option that was probably meant."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized") and unknown:
            known = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(unknown[0], known, 1)
            message += f" (did you mean {near[0]}?)" if near else ""
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    default = DaemonConfig()
    parser = _Parser(prog="creched", description="Supervises the containers of this host.")
    add = parser.add_argument
    add("--config", metavar="FILE", help=f"settings (default {DEFAULT_FILE}, if it is there)")
    add("--root", metavar="DIR", help=f"images, layers, logs, state (default {default.root})")
    add("--run-dir", metavar="DIR", help=f"what need not survive (default {default.run_dir})")
    add("--socket", metavar="PATH", help="the control socket (default RUN-DIR/creche.sock)")
    add("--socket-group", metavar="GROUP", help="a group that may use the socket besides root")
    add("--units", metavar="DIR", help=f"unit files, *.toml (default {default.units})")
    add(
        "--exec-driver",
        metavar="NAME",
        help=f"native, oci, runc ... (default {default.exec_driver})",
    )
    add("--exec-opt", metavar="KEY=VALUE", action="append", help="of it: runtime=PATH for oci")
    add("--storage-driver", metavar="NAME", help="default: by the data there, else what works")
    add("--storage-opt", metavar="KEY=VALUE", action="append", help="of the storage driver")
    add("--log-driver", metavar="NAME", help=f"default {default.log_driver}")
    add("--log-opt", metavar="KEY=VALUE", action="append", help="of the default log driver")
    add(
        "--log-level", choices=("debug", "info", "warning", "error"), help="of the daemon's own log"
    )
    add("--cgroup-parent", metavar="PATH", help=f"default {default.cgroup_parent}")
    add("--userns-remap", metavar="auto|USER[:GROUP]", help="ids of the containers (default host)")
    add("--userns-pool-start", metavar="ID", type=int, help="first id for --userns auto")
    add("--userns-pool-size", metavar="COUNT", type=int, help="how many there are")
    add("--check-config", action="store_true", help="check settings and unit files, and end")
    add("--doctor", action="store_true", help="print as JSON what works on this host, and end")
    add("--version", action="version", version=f"creched {VERSION}")
    return parser


def parse_arguments(arguments: list[str]) -> Invocation:
    """The settings: options win over the file, the file over defaults. Raises ConfigError."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    check, doctor = given.pop("check_config"), given.pop("doctor")
    file = given.pop("config")
    data = _read_file(Path(file) if file else DEFAULT_FILE, must_exist=file is not None)
    for name, value in given.items():
        if value is not None:
            key = name.replace("_", "-")
            data[key] = _pairs(key, value) if isinstance(value, list) else value
    config = msgspec.convert(data, DaemonConfig)
    for name, runtime in config.runtimes.items():
        if not runtime.path.startswith("/"):
            raise ConfigError(f"runtimes.{name}.path: {runtime.path!r} is not an absolute path")
    if not config.cgroup_parent.startswith("/") or ".." in config.cgroup_parent.split("/"):
        raise ConfigError(f"cgroup-parent: {config.cgroup_parent!r} is not an absolute path")
    return Invocation(config=config, action="check" if check else "doctor" if doctor else "serve")


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(f"{path}: no such file") from error
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    data = toml.parse(text, str(path))
    toml.convert(data, DaemonConfig, file=str(path), text=text, at=())
    return data


def _pairs(option: str, items: list[str]) -> dict[str, str]:
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--{option} {item}: not KEY=VALUE")
        found[name] = value
    return found
