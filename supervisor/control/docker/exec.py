"""Execs: further processes in running containers."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import trio

from drivers.errors import CrecheError, InvalidRequest
from drivers.log.base import Source
from supervisor.control.context import Control
from supervisor.control.docker.body import ExecCreateBody, ExecStartBody
from supervisor.control.docker.frames import content_type, frame, raw
from supervisor.control.docker.streaming import Manner, converse
from supervisor.control.docker.values import absolute_workdir, answer, asked_keys, asked_size
from supervisor.control.http import Answer, Hijack, Request, Response
from supervisor.control.router import Route, route
from supervisor.detach import parse_keys
from supervisor.execs.instance import ExecInstance, ExecSpec
from supervisor.execs.instances import ExecInstances
from supervisor.terminal import check_size

_CONSOLE_SIZE_SINCE = (1, 42)
_BOTH: frozenset[Source] = frozenset({"stdout", "stderr"})


def routes(control: Control) -> list[Route]:
    """Every route of this resource."""
    table = [
        ("POST", "/containers/{id}/exec", create),
        ("POST", "/exec/{id}/start", start),
        ("POST", "/exec/{id}/resize", resize),
        ("GET", "/exec/{id}/json", inspect),
    ]
    return [route(method, path, partial(handler, control)) for method, path, handler in table]


async def create(control: Control, request: Request) -> Answer:
    """POST /containers/{id}/exec"""
    container = control.manager.find(request.parameters["id"])
    body = await request.json(ExecCreateBody)
    if request.api_version < _CONSOLE_SIZE_SINCE:
        body.console_size = None
    instance = control.manager.execs.create(container, spec_of(body))
    return answer({"Id": instance.id}, 201)


def spec_of(body: ExecCreateBody) -> ExecSpec:
    """The exec that a body asks for. Raises InvalidRequest."""
    if not body.cmd:
        raise InvalidRequest("No exec command specified", field="Cmd")
    for text in (*body.cmd, *(body.env or ()), body.user, body.working_dir):
        if "\0" in text:
            raise InvalidRequest(f"a NUL character in {text!r}")
    asked_keys(body.detach_keys, kind="escape")
    size = check_size(*(body.console_size or (0, 0)))
    return ExecSpec(
        argv=tuple(body.cmd),
        env=tuple(body.env or ()),
        user=body.user,
        workdir=absolute_workdir(body.working_dir),
        tty=body.tty,
        privileged=body.privileged,
        attach_stdin=body.attach_stdin,
        attach_stdout=body.attach_stdout,
        attach_stderr=body.attach_stderr,
        detach_keys=body.detach_keys,
        console_size=(size.rows, size.columns),
    )


async def start(control: Control, request: Request) -> Answer:
    """POST /exec/{id}/start: detached it is answered by a status, else within the stream."""
    body = await request.json(ExecStartBody)
    execs = control.manager.execs
    exec_id = request.parameters["id"]
    instance = execs.startable(exec_id)
    if body.tty and body.console_size and request.api_version >= _CONSOLE_SIZE_SINCE:
        instance.terminal.resize(check_size(*body.console_size))
    if body.detach:
        await execs.execute(execs.begin(exec_id), attached=False)
        return Response(status=200)
    return Hijack(
        run=partial(_converse, execs, instance, body.tty),
        content_type=content_type(request.api_version, tty=body.tty),
    )


async def _converse(
    execs: ExecInstances, instance: ExecInstance, tty: bool, stream: trio.SocketStream, first: bytes
) -> None:
    """`tty` is how the client wants to read, which need not be how the exec was made."""
    spec = instance.spec
    manner = Manner(
        encode=raw if tty else frame,
        sources=_BOTH,
        stdin=spec.attach_stdin,
        keys=parse_keys(spec.detach_keys) if spec.tty else None,
    )
    try:
        execs.begin(instance.id)
        with instance.attach() as attachment:
            await execs.execute(instance, attached=True)
            if await converse(attachment, manner, stream, first):
                instance.announce("exec_detach")
    except CrecheError as error:
        # the status has been sent: as dockerd, tell of it where the output would be
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(manner.encode("stdout", f"{error}\r\n".encode()))


async def resize(control: Control, request: Request) -> Answer:
    """POST /exec/{id}/resize"""
    instance = control.manager.execs.find(request.parameters["id"])
    instance.resize(asked_size(request))
    return Response(status=200)


async def inspect(control: Control, request: Request) -> Answer:
    """GET /exec/{id}/json"""
    return answer(inspected(control.manager.execs.find(request.parameters["id"])))


def inspected(instance: ExecInstance) -> dict[str, Any]:
    """All of one exec."""
    spec = instance.spec
    entrypoint, *arguments = spec.argv
    process: dict[str, Any] = {
        "tty": spec.tty,
        "entrypoint": entrypoint,
        "arguments": arguments,
        "privileged": spec.privileged,
    }
    if spec.user:
        process["user"] = spec.user
    return {
        "ID": instance.id,
        "Running": instance.is_running,
        "ExitCode": instance.exit_code,
        "ProcessConfig": process,
        "OpenStdin": spec.attach_stdin,
        "OpenStderr": spec.attach_stderr,
        "OpenStdout": spec.attach_stdout,
        "CanRemove": False,
        "ContainerID": instance.container.id,
        "DetachKeys": spec.detach_keys,
        "Pid": instance.pid,
    }
