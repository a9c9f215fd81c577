"""The control socket: accepts connections and answers requests on them."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import traceback
from pathlib import Path

import msgspec
import trio

from drivers.errors import (
    ConfigError,
    CrecheError,
    Exhausted,
    from_host_error,
    from_os_error,
    leaves,
)
from drivers.kernel.descriptors import is_reserved
from supervisor import log
from supervisor.control import auth, faults
from supervisor.control.connection import SKIPPED_BYTES, Connection, Disconnected
from supervisor.control.http import Answer, Request, Response
from supervisor.control.message import BadRequest
from supervisor.control.router import API_VERSION, Router, version_text

CONNECTIONS = 4096  # at a time; more wait in the socket's queue
BACKLOG = 1024
LINGER_S = 2.0  # for a client that has been refused to end its request
LINGER_READ_BYTES = 64 * 1024
REFUSALS = 8  # at a time, of connections for which there are no descriptors
REFUSE_S = 1.0  # for the request of a client that is to be told of a shortage

# What the host is short of for a moment. Source: accept(2).
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_HEADERS = {
    "Api-Version": version_text(API_VERSION),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Cache-Control": "no-cache",
}


_LAST = {**_HEADERS, "Connection": "close"}


class Server:
    """Answers on a listening socket."""

    def __init__(self, router: Router, *, name: str, group_id: int | None = None) -> None:
        self._router = router
        self._name = name
        self._group_id = group_id
        self._room = trio.CapacityLimiter(CONNECTIONS)
        self._refusals = trio.CapacityLimiter(REFUSALS)

    async def serve(self, listener: trio.SocketListener) -> None:
        """Accept until cancelled; every connection is a task of its own."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._room.acquire_on_behalf_of(token := object())
                try:
                    stream = await listener.accept()
                except OSError as error:
                    self._room.release_on_behalf_of(token)
                    if error.errno not in _SHORTAGES:
                        raise
                    log.error("control.not_accepted", error=error)
                    await trio.sleep(0.1)  # a free descriptor announces itself by none
                    continue
                if is_reserved(stream.socket.fileno()):
                    await self._refusals.acquire_on_behalf_of(token)
                    nursery.start_soon(self._refuse, stream, token)
                else:
                    nursery.start_soon(self._converse_in_room, stream, token)

    async def _refuse(self, stream: trio.SocketStream, token: object) -> None:
        """Tell a client that there are too many; few are told at a time, and not for long."""
        try:
            with trio.move_on_after(REFUSE_S):
                await self.converse(stream, from_os_error(OSError(errno.EMFILE, ""), "connect"))
        finally:
            self._refusals.release_on_behalf_of(token)
            self._room.release_on_behalf_of(token)

    async def _converse_in_room(self, stream: trio.SocketStream, token: object) -> None:
        try:
            await self.converse(stream)
        finally:
            self._room.release_on_behalf_of(token)

    async def converse(self, stream: trio.SocketStream, refusal: CrecheError | None = None) -> None:
        """Answer every request of one connection, and close it.

        With a `refusal` it is the answer to the first, and there is no other.
        """
        peer = auth.peer_of(stream.socket)  # type: ignore[arg-type]
        connection = Connection(stream, peer, self._name)
        try:
            await self._requests(connection, refusal)
        except* (Disconnected, trio.TooSlowError):
            pass
        except* BadRequest as group:
            log.debug("control.bad_http", peer=peer, error=leaves(group)[0])
            await _answer_no_http(stream)
        # What fails once the head is out can only be told by the end of the connection. As below,
        # it does not take the containers' supervisor away from everybody else.
        except* CrecheError as group:
            log.warning("control.cut_off", error=leaves(group)[0])
        except* Exception as group:  # noqa: BLE001
            log.error("control.bug", trace="".join(traceback.format_exception(group)))
        finally:
            await trio.aclose_forcefully(stream)

    async def _requests(self, connection: Connection, refusal: CrecheError | None) -> None:
        while True:
            request = await connection.next_request()
            if request is None:
                return
            if refusal is not None:
                await connection.answer(request, error_response(refusal), _LAST)
                return
            answer = await self._answer(request)
            if not await connection.answer(request, answer, _HEADERS):
                return

    async def _answer(self, request: Request) -> Answer:
        """What the handler answers, or what tells of its failure."""
        try:
            auth.check(request.peer, self._group_id)
            return await self._router.find(request)(request)
        except CrecheError as error:
            return error_response(error)
        # A bug while one request is answered is told in full, but does not take the containers'
        # supervisor away from everybody else.
        except Exception as failure:
            if isinstance(failure, Disconnected | trio.TooSlowError | BadRequest):
                raise
            told = _told(failure, f"{request.method} {request.path}")
            return _bug_response(request, failure) if told is None else error_response(told)


def _told(failure: Exception, what: str) -> CrecheError | None:
    """What the client is told of a failure that is no bug, and has no bug in it."""
    errors = leaves(failure) if isinstance(failure, ExceptionGroup) else [failure]
    found = [e if isinstance(e, CrecheError) else _exhausted(e, what) for e in errors]
    return found[0] if all(found) else None


def _exhausted(error: Exception, what: str) -> Exhausted | None:
    told = from_host_error(error, what)
    return told if isinstance(told, Exhausted) else None


_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: 15\r\n\r\n400 Bad Request"
)


async def _answer_no_http(stream: trio.SocketStream) -> None:
    """Answer what is no HTTP, and read on for a while: who is still sending would else not see it.

    Source: unix(7); closing with something unread in the queue resets the connection.
    """
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        with trio.move_on_after(LINGER_S):
            await stream.send_all(_BAD_REQUEST)
            await stream.send_eof()
            left = SKIPPED_BYTES
            while left > 0 and (data := await stream.receive_some(LINGER_READ_BYTES)):
                left -= len(data)


def error_response(error: CrecheError) -> Response:
    """The answer that tells of `error`, in Docker's form."""
    return message_response(faults.http_status(error), str(error))


def message_response(status: int, message: str) -> Response:
    """An answer with nothing but a message, in Docker's form."""
    return Response(status=status, body=msgspec.json.encode({"message": message}) + b"\n")


def _bug_response(request: Request, bug: BaseException) -> Response:
    trace = "".join(traceback.format_exception(bug))
    log.error("control.bug", method=request.method, path=request.path, trace=trace)
    return message_response(500, f"internal error, please report it: {bug!r}")


def group_id_of(name: str) -> int | None:
    """The id of the group that may use the socket. Raises ConfigError if there is no such group."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ConfigError(f"socket-group: there is no group {name!r}") from error


def open_socket(path: Path, group_id: int | None) -> trio.SocketListener:
    """Listen at `path`, in place of a socket that nobody listens at any more.

    Raises ConfigError naming the path if a daemon is there, or something that is no socket.
    """
    _check_free(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    aside = path.with_name(f".{path.name}")
    try:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
        sock.bind(str(aside))
        os.chown(aside, -1, -1 if group_id is None else group_id)
        aside.chmod(0o600 if group_id is None else 0o660)
        sock.listen(BACKLOG)
        aside.rename(path)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen at {path}: {error.strerror}") from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _check_free(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_socket():
        raise ConfigError(f"cannot listen at {path}: it exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # stale: its daemon is gone
        except OSError as error:
            raise ConfigError(f"cannot listen at {path}: {error.strerror}") from error
    raise ConfigError(
        f"cannot listen at {path}: a daemon listens there already (choose another --socket)"
    )
