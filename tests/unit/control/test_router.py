"""Which handler answers, and what of which API version."""

from __future__ import annotations

import pytest

from drivers import errors
from drivers.errors import CrecheError, InvalidRequest, NotFound
from supervisor.control.faults import TABLE, fault_code, http_status
from supervisor.control.http import Answer, Request, Response
from supervisor.control.router import Router, route
from tests.unit.control.test_values import asking


async def one(request: Request) -> Answer:
    return Response()


async def rest(request: Request) -> Answer:
    return Response()


ROUTER = Router(
    [route("GET", "/things/{id}/json", one), route("GET", "/images/{name:path}/json", rest)]
)


def request_of(method: str, path: str) -> Request:
    request = asking()
    request.method, request.path = method, path
    return request


@pytest.mark.parametrize(
    ("path", "handler", "parameters"),
    [
        ("/things/a/json", one, {"id": "a"}),
        ("/images/a/json", rest, {"name": "a"}),
        ("/images/host:5000/a/b/json", rest, {"name": "host:5000/a/b"}),
    ],
)
def test_names_are_taken_from_the_path(
    path: str, handler: object, parameters: dict[str, str]
) -> None:
    request = request_of("GET", path)
    assert ROUTER.find(request) is handler
    assert request.parameters == parameters


@pytest.mark.parametrize(
    ("prefix", "version"),
    [("", (1, 50)), ("/v1.24", (1, 24)), ("/v1.41", (1, 41)), ("/v1.50", (1, 50))],
)
def test_versions_from_the_oldest_to_the_newest_are_spoken(
    prefix: str, version: tuple[int, int]
) -> None:
    request = request_of("HEAD", f"{prefix}/things/a/json")
    assert ROUTER.find(request) is one
    assert request.api_version == version


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("/v1.51", "client version 1.51 is too new. Maximum supported API version is 1.50"),
        ("/v2.0", "client version 2.0 is too new"),
        ("/v1.23", "client version 1.23 is too old. Minimum supported API version is 1.24"),
    ],
)
def test_other_versions_are_refused_in_dockers_words(prefix: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ROUTER.find(request_of("GET", f"{prefix}/things/a/json"))
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/things/a/json"), ("GET", "/things/a/b/json"), ("GET", "/"), ("GET", "/v1.41")],
)
def test_what_is_not_there_is_not_found(method: str, path: str) -> None:
    with pytest.raises(NotFound, match="page not found"):
        ROUTER.find(request_of(method, path))


def test_every_error_has_a_status_and_a_fault_of_its_own_row() -> None:
    rows = [kind for kind, _, _ in TABLE]
    for earlier, later in ((a, b) for n, a in enumerate(rows) for b in rows[n + 1 :]):
        assert not issubclass(later, earlier), f"{later.__name__} is never reached"
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, CrecheError):
            error = kind.__new__(kind)
            assert 300 <= http_status(error) < 600
            assert fault_code(error) > 0
