"""Which handler answers a request."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from drivers.errors import InvalidRequest, NotFound
from supervisor.control.http import Answer, Request

API_VERSION = (1, 50)
OLDEST_API_VERSION = (1, 24)

_VERSIONED = re.compile(r"/v([0-9]{1,9})\.([0-9]{1,9})(/.*)")

Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a pattern of the whole path with named groups, and who answers."""

    method: str
    first: str  # part of the path, which is no pattern
    path: re.Pattern[str]
    handler: Handler


def route(method: str, path: str, handler: Handler) -> Route:
    """A route; `{name}` in the path matches one part of it, `{name:path}` the rest."""
    pattern = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+?)", path)
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    return Route(method, _first(path), re.compile(pattern), handler)


def _first(path: str) -> str:
    return path.split("/", 2)[1] if "/" in path else ""


def version_text(version: tuple[int, int]) -> str:
    """The version as the Engine API writes it: 1.50."""
    return f"{version[0]}.{version[1]}"


class Router:
    """Finds the handler; takes the API version off the path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, str], list[Route]] = {}
        for known in routes:
            self._routes.setdefault((known.method, known.first), []).append(known)

    def find(self, request: Request) -> Handler:
        """The handler of a request. Raises NotFound, or InvalidRequest for a version."""
        self._take_version(request)
        method = "GET" if request.method == "HEAD" else request.method
        for candidate in self._routes.get((method, _first(request.path)), ()):
            found = candidate.path.fullmatch(request.path)
            if found:
                request.parameters = found.groupdict()
                return candidate.handler
        raise NotFound("page not found")

    def _take_version(self, request: Request) -> None:
        found = _VERSIONED.fullmatch(request.path)
        if found is None:
            request.api_version = API_VERSION
            return
        version = (int(found[1]), int(found[2]))
        shown = version_text(version)
        if version > API_VERSION:
            raise InvalidRequest(
                f"client version {shown} is too new. "
                f"Maximum supported API version is {version_text(API_VERSION)}"
            )
        if version < OLDEST_API_VERSION:
            raise InvalidRequest(
                f"client version {shown} is too old. Minimum supported API version is "
                f"{version_text(OLDEST_API_VERSION)}, please upgrade your client to a newer version"
            )
        request.api_version = version
        request.path = found[3]
