"""What works on this host: every driver is tried, and what is missing is told with a way out."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import trio

from drivers import registry
from drivers.errors import (
    CommandNotFound,
    ConfigError,
    CrecheError,
    DriverError,
    IncompatibleFilesystem,
    Unsupported,
    leaves,
)
from drivers.execution import cgroup, seccomp
from drivers.execution.base import Command, IdMap, IdRange, Pipes
from drivers.execution.id_map import open_user_namespace
from drivers.keeper.client import open_keeper
from drivers.kernel import mount
from drivers.kernel.capabilities import NUMBER_OF
from drivers.kernel.user_namespace import in_user_namespace
from drivers.log.base import Batch, LogContext
from drivers.registry import Kind
from drivers.storage.base import StorageDriver
from supervisor.config import DaemonConfig
from supervisor.id_pool import DEFAULT_START
from supervisor.init import find_init
from supervisor.runtimes import OCI, Choice, installed_runtimes, open_execution
from supervisor.userns import RANGE

OLDEST_KERNEL = (5, 14)
# What the daemon and the keeper themselves need, besides what containers are given.
NEEDED_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN",
                       "CAP_KILL", "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP",
                       "CAP_SYS_CHROOT", "CAP_SYS_PTRACE")  # fmt: skip
HELPFUL_CAPABILITIES = ("CAP_SYS_RESOURCE",)
_CONTROLLERS = ("memory", "cpu", "pids")
_TRY_S = 20.0
_SOME_IDS = (IdRange(container_id=0, host_id=DEFAULT_START, size=RANGE),)
_MISSING_COMMAND = "/creche-doctor"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one thing works here; if not, why, and what would help."""

    kind: str
    name: str
    works: bool
    problem: str | None = None
    help: str | None = None
    needed: bool = False  # no container runs without it


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `crechectl doctor` shows."""

    host: dict[str, str]
    findings: list[Finding]
    usable: bool  # containers can run here


async def print_findings(config: DaemonConfig, not_rootless: ConfigError | None = None) -> None:
    """`creched --doctor`: the report as JSON; why an ordinary user's daemon cannot be, if so."""
    report = await examine(Path(config.root))
    if not_rootless is not None:
        problem, _, way_out = str(not_rootless).removeprefix("rootless: ").partition(": ")
        finding = Finding(
            kind="host", name="rootless", works=False, problem=problem, help=way_out, needed=True
        )
        report = msgspec.structs.replace(report, findings=[finding, *report.findings], usable=False)
    print(msgspec.json.encode(report).decode())


async def examine(root: Path) -> Report:
    """Try everything. Drivers work in a directory of their own below `root`, removed again.

    `root` need not be there: then its nearest parent is taken, which is the same file system.
    """
    findings = list(_host_findings())
    directory = await trio.to_thread.run_sync(_make_place, root)
    try:
        for kind, attempt in _ATTEMPTS.items():
            for name in _names(kind):
                findings.append(await _tried(kind, name, attempt, directory))
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(shutil.rmtree, directory)
    return Report(host=_host(directory.parent), findings=findings, usable=_usable(findings))


def _names(kind: Kind) -> list[str]:
    """The drivers of a kind; of `oci`, the runtimes that are installed, if any is."""
    names = registry.names(kind)
    installed = list(installed_runtimes()) if kind == "execution" else []
    return [name for name in names if name != OCI or not installed] + installed


def _make_place(root: Path) -> Path:
    place = next(path for path in (root, *root.absolute().parents) if path.is_dir())
    return Path(tempfile.mkdtemp(prefix=".doctor-", dir=place))


def _usable(findings: list[Finding]) -> bool:
    """Whether nothing needed is missing and each kind has a driver that works."""
    kinds = {finding.kind for finding in findings if finding.kind in _ATTEMPTS}
    works = {finding.kind for finding in findings if finding.works}
    return kinds <= works and all(f.works for f in findings if f.needed)


def _host(place: Path) -> dict[str, str]:
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        system = "Linux"
    return {
        "system": system,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "root": str(place),
    }


def _host_findings() -> Iterator[Finding]:
    release = platform.release()
    new_enough = tuple(map(int, release.split("-")[0].split(".")[:2])) >= OLDEST_KERNEL
    oldest = ".".join(map(str, OLDEST_KERNEL))
    yield Finding(
        kind="host",
        name="kernel",
        works=new_enough,
        problem=None if new_enough else f"it is Linux {release}",
        help=None if new_enough else f"Creche needs Linux {oldest} or newer",
        needed=True,
    )
    yield from _capability_findings()
    yield _attempted("seccomp", seccomp.check_supported, needed=True)
    yield _attempted("init", find_init)
    yield _attempted("user namespaces", _try_user_namespace)
    yield from _cgroup_findings()


def _capability_findings() -> Iterator[Finding]:
    """What this process may do. Source: proc_pid_status(5), CapEff."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    missing = [name for name in NEEDED_CAPABILITIES if not effective >> NUMBER_OF[name] & 1]
    yield Finding(
        kind="host",
        name="capabilities",
        works=not missing,
        problem=f"missing: {', '.join(missing)}" if missing else None,
        help="run creched as root, outside of another container" if missing else None,
        needed=True,
    )
    for name in HELPFUL_CAPABILITIES:
        if not effective >> NUMBER_OF[name] & 1:
            yield Finding(
                kind="host",
                name=name,
                works=False,
                problem="missing: resource limits cannot be raised above those of the daemon",
                help="start creched with it if a container needs more",
            )


def _try_user_namespace() -> None:
    """What --userns auto takes. Raises Unsupported."""
    if in_user_namespace():
        raise Unsupported(
            "user namespace: a rootless daemon cannot show files by other ids: use host, or a map "
            "of ids to themselves, such as map:uid=0:0:1000"
        )
    try:
        os.close(open_user_namespace(IdMap(uids=_SOME_IDS, gids=_SOME_IDS)))
    except Unsupported:
        raise
    except DriverError as error:
        raise Unsupported(
            f"user namespace: {error}: run creched where it may give ids to others"
        ) from error


def _attempted(name: str, attempt: Callable[[], object], *, needed: bool = False) -> Finding:
    """Whether something of the host is there; its error ends with what would help."""
    try:
        attempt()
    except Unsupported as error:
        problem, _, way_out = str(error).partition(": ")[2].partition(": ")
        return Finding(
            kind="host", name=name, works=False, problem=problem, help=way_out, needed=needed
        )
    return Finding(kind="host", name=name, works=True)


def _cgroup_findings() -> Iterator[Finding]:
    try:
        hierarchy = cgroup.detect()
    except DriverError as error:
        yield Finding(kind="cgroup", name="mount", works=False, problem=str(error), needed=True)
        return
    if hierarchy.version == 2:
        there = set((hierarchy.mounts[""] / "cgroup.controllers").read_text().split())
    else:
        there = set(hierarchy.mounts)
    yield Finding(kind="cgroup", name=f"version {hierarchy.version}", works=True)
    for controller in _CONTROLLERS:
        works = controller in there
        yield Finding(
            kind="cgroup",
            name=controller,
            works=works,
            problem=None if works else "this host does not have the controller",
            help=None if works else f"containers run, but without a limit on {controller}",
        )


async def _tried(
    kind: Kind, name: str, attempt: Callable[[str, Path], Awaitable[None]], directory: Path
) -> Finding:
    """Try one driver in a directory of its own."""
    own = directory / kind / name
    own.mkdir(parents=True)
    error: BaseException | None = None
    try:
        with trio.fail_after(_TRY_S):
            await attempt(name, own)
    except* CrecheError as group:
        error = leaves(cast("BaseExceptionGroup[CrecheError]", group))[0]
    except* (OSError, ImportError) as group:
        error = group.exceptions[0]
    except* trio.TooSlowError:
        error = DriverError(f"it did not answer within {_TRY_S:g} s")
    if error is None:
        return Finding(kind=kind, name=name, works=True)
    problem, way_out = str(error).removeprefix(f"{name}: "), None
    if isinstance(error, Unsupported | IncompatibleFilesystem):  # which end with what would help
        problem, _, way_out = problem.rpartition(": ")
    return Finding(kind=kind, name=name, works=False, problem=problem, help=way_out)


async def _try_execution(name: str, directory: Path) -> None:
    """Start what is not there: that it is missed proves every step before."""
    root = directory / "root"
    root.mkdir()
    root_fd = await trio.to_thread.run_sync(mount.open_tree_clone, str(root))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    path = installed_runtimes().get(name)
    options = {"runtime": path} if path else {}
    choice = Choice(driver=OCI if path else name, options=options)
    try:
        async with open_keeper() as keeper:
            driver = open_execution(
                choice,
                keeper,
                cgroup_parent=f"/creche-doctor-{os.getpid()}",
                directory=directory / "run",
            )
            command = Command(key="doctor", root_fd=root_fd, argv=(_MISSING_COMMAND,), env=())
            pipes = Pipes(stdin=null, stdout=null, stderr=null)
            try:
                await driver.run(command.key, lambda: command, pipes)
            except CommandNotFound:
                return
            finally:
                await driver.close()
    finally:
        os.close(null)
        os.close(root_fd)


async def _try_storage(name: str, directory: Path) -> None:
    driver: StorageDriver = await registry.load("storage", name)(directory, {})
    await trio.to_thread.run_sync(_use_storage, driver)


def _use_storage(driver: StorageDriver) -> None:
    driver.create("doctor", None)
    driver.create("doctor-child", "doctor")
    os.close(driver.get("doctor-child"))
    driver.put("doctor-child")
    driver.remove("doctor-child")
    driver.remove("doctor")
    driver.cleanup()


async def _try_log(name: str, directory: Path) -> None:
    context = LogContext(
        container_id="0" * 64,
        container_name="doctor",
        image_id="",
        image_name="",
        directory=directory,
    )
    driver = await registry.load("log", name)(context, {})
    await driver.log(Batch(data=b"doctor\n", source="stdout", time_ns=0))
    await driver.close()


async def _try_network(name: str, directory: Path) -> None:
    driver = registry.load("network", name)()
    await driver.attach("doctor")
    await driver.detach("doctor")


_ATTEMPTS: dict[Kind, Callable[[str, Path], Awaitable[None]]] = {
    "execution": _try_execution,
    "storage": _try_storage,
    "log": _try_log,
    "network": _try_network,
}
