"""The daemon itself: ping, version, info, disk usage; and the lists that clients ask by habit."""

from __future__ import annotations

import os
import time
from functools import partial

import trio

from drivers import registry
from drivers.errors import NotFound, NotImplementedYet
from supervisor.control.context import VERSION, Control, go_architecture, host_facts
from supervisor.control.docker.images import listed_image
from supervisor.control.docker.listing import size_of
from supervisor.control.docker.shapes import listed
from supervisor.control.docker.values import answer, rfc3339
from supervisor.control.http import Answer, Request, Response
from supervisor.control.router import (
    API_VERSION,
    OLDEST_API_VERSION,
    Handler,
    Route,
    route,
    version_text,
)

# What the Engine has and Creche does not, by the beginning of the path.
_MISSING = (
    ("/build", "building images"),
    ("/commit", "committing a container"),
    ("/containers/{id}/archive", "copying files"),
    ("/containers/{id}/export", "exporting a container"),
    ("/containers/{id}/attach/ws", "attaching by websocket"),
    ("/images/search", "searching images"),
    ("/images/get", "saving images"),
    ("/images/{name:path}/get", "saving images"),
    ("/images/{name:path}/push", "pushing images"),
    ("/auth", "logging in to a registry"),
    ("/session", "building images"),
    ("/volumes/{name:path}", "managing volumes"),
    ("/networks/{name:path}", "managing networks"),
    ("/plugins/{name:path}", "managing plugins"),
    ("/swarm", "swarm mode"),
    ("/swarm/{name:path}", "swarm mode"),
    ("/nodes", "swarm mode"),
    ("/services", "swarm mode"),
    ("/tasks", "swarm mode"),
    ("/secrets", "swarm mode"),
    ("/configs", "swarm mode"),
    ("/distribution/{name:path}", "asking registries"),
)


def routes(control: Control) -> list[Route]:
    """Every route of this resource."""
    table = [
        ("GET", "/_ping", ping),
        ("GET", "/version", version),
        ("GET", "/info", info),
        ("GET", "/system/df", disk_usage),
        ("GET", "/networks", networks),
        ("GET", "/networks/{name}", network),
        ("GET", "/volumes", volumes),
        ("GET", "/volumes/{name}", volume),
        ("GET", "/plugins", empty),
        ("GET", "/plugins/{name:path}/json", plugin),
        ("POST", "/networks/prune", prune_networks),
        ("POST", "/volumes/prune", prune_volumes),
        ("POST", "/build/prune", prune_builds),
    ]
    return [route(method, path, partial(handler, control)) for method, path, handler in table]


def missing_routes() -> list[Route]:
    """Answers for what is not there yet; they stand after all others."""
    return [
        route(method, path, _not_there(what))
        for path, what in _MISSING
        for method in ("GET", "POST", "PUT", "DELETE")
    ]


def _not_there(what: str) -> Handler:
    async def handler(request: Request) -> Answer:
        raise NotImplementedYet(f"{what} is not implemented yet")

    return handler


async def ping(control: Control, request: Request) -> Answer:
    """GET and HEAD /_ping"""
    return Response(body=b"OK", content_type="text/plain; charset=utf-8")


async def version(control: Control, request: Request) -> Answer:
    """GET /version"""
    facts = host_facts()
    about = {
        "ApiVersion": version_text(API_VERSION),
        "MinAPIVersion": version_text(OLDEST_API_VERSION),
        "Os": "linux",
        "Arch": go_architecture(facts.architecture),
        "KernelVersion": facts.kernel,
    }
    details = {**about, "GoVersion": "none", "Experimental": "false"}
    engine = {"Name": "Engine", "Version": VERSION, "Details": details}
    return answer(
        {
            "Platform": {"Name": "Creche"},
            "Version": VERSION,
            "GitCommit": "",
            "GoVersion": "none",
            "Components": [engine],
            **about,
        }
    )


async def info(control: Control, request: Request) -> Answer:
    """GET /info"""
    manager, facts = control.manager, host_facts()
    statuses = [container.record.docker_status for container in manager.all()]
    running = sum(status in ("running", "restarting") for status in statuses)
    paused = statuses.count("paused")
    names = list(manager.drivers.execution)
    status = await trio.to_thread.run_sync(manager.drivers.storage.status)
    return answer(
        {
            "ID": control.daemon_id,
            "Containers": len(statuses),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": len(statuses) - running - paused,
            "Images": len(manager.images.images()),
            "Driver": manager.drivers.storage.name,
            "DriverStatus": [list(pair) for pair in status],
            "Plugins": {
                "Volume": [],
                "Network": list(manager.drivers.network),
                "Authorization": None,
                "Log": registry.names("log"),
            },
            "MemoryLimit": True,
            "SwapLimit": True,
            "CPUShares": True,
            "CPUSet": True,
            "OomKillDisable": True,
            "CpuCfsPeriod": True,
            "CpuCfsQuota": True,
            "PidsLimit": True,
            "IPv4Forwarding": True,
            "Debug": control.config.log_level == "debug",
            "NFd": len(os.listdir("/proc/self/fd")),
            "SystemTime": rfc3339(time.time_ns()),
            "LoggingDriver": control.config.log_driver,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": str(control.cgroup_version),
            "KernelVersion": facts.kernel,
            "OperatingSystem": facts.operating_system,
            "OSType": "linux",
            "Architecture": facts.architecture,
            "NCPU": facts.cpus,
            "MemTotal": facts.memory_bytes,
            "DockerRootDir": str(control.config.root),
            "Name": facts.name,
            "ServerVersion": VERSION,
            "Runtimes": {n: {"path": manager.drivers.runtime_paths.get(n, n)} for n in names},
            "DefaultRuntime": names[0],
            "Swarm": {"LocalNodeState": "inactive"},
            "LiveRestoreEnabled": False,
            "SecurityOptions": ["name=userns"] if control.config.userns_remap else [],
            "Warnings": None,
        }
    )


async def disk_usage(control: Control, request: Request) -> Answer:
    """GET /system/df"""
    manager = control.manager
    images = manager.images.images()
    containers = []
    for container in manager.all():
        size = await size_of(manager, container)
        containers.append({**listed(container), "SizeRw": size})
    return answer(
        {
            "LayersSize": sum(image.size_bytes for image in images),
            "Images": [
                {
                    **listed_image(image),
                    "SharedSize": 0,
                    "Containers": sum(c.spec.image_id == image.id for c in manager.all()),
                }
                for image in images
            ],
            "Containers": containers,
            "Volumes": [],
            "BuildCache": [],
        }
    )


def _network(name: str) -> dict[str, object]:
    return {"Name": name, "Id": name, "Driver": name, "Scope": "local", "Containers": {}}


async def networks(control: Control, request: Request) -> Answer:
    """GET /networks"""
    return answer([_network(name) for name in control.manager.drivers.network])


async def network(control: Control, request: Request) -> Answer:
    """GET /networks/{name}"""
    name = request.parameters["name"]
    if name not in control.manager.drivers.network:
        raise NotFound(f"network {name} not found")
    return answer(_network(name))


async def volumes(control: Control, request: Request) -> Answer:
    """GET /volumes"""
    return answer({"Volumes": [], "Warnings": None})


async def volume(control: Control, request: Request) -> Answer:
    """GET /volumes/{name}: `docker inspect` asks for every kind of object in turn."""
    raise NotFound(f"get {request.parameters['name']}: no such volume")


async def plugin(control: Control, request: Request) -> Answer:
    """GET /plugins/{name}/json"""
    raise NotFound(f'plugin "{request.parameters["name"]}" not found')


async def empty(control: Control, request: Request) -> Answer:
    """A list of what there is none of."""
    return answer([])


async def prune_networks(control: Control, request: Request) -> Answer:
    """POST /networks/prune: there are none but those that stay; `docker system prune` asks."""
    return answer({"NetworksDeleted": None})


async def prune_volumes(control: Control, request: Request) -> Answer:
    """POST /volumes/prune"""
    return answer({"VolumesDeleted": None, "SpaceReclaimed": 0})


async def prune_builds(control: Control, request: Request) -> Answer:
    """POST /build/prune"""
    return answer({"CachesDeleted": None, "SpaceReclaimed": 0})
