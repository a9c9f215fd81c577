"""POST /RPC2: XML in, one of METHODS called, XML out."""

from __future__ import annotations

import inspect
import xmlrpc.client
from functools import partial
from typing import Any
from xml.parsers.expat import ExpatError

from drivers.errors import CrecheError, InvalidRequest
from supervisor.control.context import Control
from supervisor.control.faults import Fault, fault_code
from supervisor.control.http import Answer, Request, Response
from supervisor.control.router import Route, route
from supervisor.control.xmlrpc.faulted import Faulted
from supervisor.control.xmlrpc.methods import METHODS

BODY_BYTES = 1024 * 1024
_AT_SHUTDOWN = frozenset(
    {"supervisor.getVersion", "supervisor.getAPIVersion", "supervisor.getState"}
)


def routes(control: Control) -> list[Route]:
    """Every route of this interface."""
    return [route("POST", "/RPC2", partial(rpc, control))]


async def rpc(control: Control, request: Request) -> Answer:
    """POST /RPC2: status 200 for faults as well."""
    name, parameters = _decode(await request.read(BODY_BYTES))
    try:
        if name == "system.multicall":
            result: Any = await _multicall(control, parameters)
        else:
            result = await call(control, name, parameters)
        xml = xmlrpc.client.dumps((result,), methodresponse=True, allow_none=False)
    except (Faulted, CrecheError) as error:
        faulted = _faulted(error)
        xml = _fault(faulted.fault, faulted.text)
    return Response(body=xml.encode("utf-8", "xmlcharrefreplace"), content_type="text/xml")


def _faulted(error: Faulted | CrecheError) -> Faulted:
    return error if isinstance(error, Faulted) else Faulted(fault_code(error), error)


def _fault(fault: Fault, text: str) -> str:
    return xmlrpc.client.dumps(xmlrpc.client.Fault(int(fault), text), methodresponse=True)


def _decode(body: bytes) -> tuple[str, tuple[Any, ...]]:
    """The name and parameters of a call. Raises InvalidRequest.

    Declarations are refused before parsing: entities that grow without end need them.
    """
    if b"<!" in body:
        raise InvalidRequest("XML declarations are not accepted")
    try:
        parameters, name = xmlrpc.client.loads(body)
    except (ExpatError, xmlrpc.client.Error, ValueError, TypeError, KeyError) as error:
        raise InvalidRequest(f"not an XML-RPC call: {error}") from error
    except (AttributeError, IndexError, RecursionError) as error:  # what loads makes of nonsense
        raise InvalidRequest("not an XML-RPC call") from error
    if name is None:
        raise InvalidRequest("not an XML-RPC call: no method name")
    return name, parameters


async def call(control: Control, name: str, parameters: tuple[Any, ...]) -> object:
    """Call one method. A name leads nowhere but into the table. Raises Faulted, CrecheError."""
    method = METHODS.get(name)
    if method is None:
        raise Faulted(Fault.UNKNOWN_METHOD)
    if control.shutdown.is_asked and name not in _AT_SHUTDOWN:
        raise Faulted(Fault.SHUTDOWN_STATE)
    _check(method, parameters)
    return await method(control, *parameters)


def _check(method: Any, parameters: tuple[Any, ...]) -> None:
    """Raise Faulted INCORRECT_PARAMETERS for a wrong number or type of parameters."""
    wanted = list(inspect.signature(method).parameters.values())[1:]
    least = sum(p.default is inspect.Parameter.empty for p in wanted)
    if not least <= len(parameters) <= len(wanted):
        raise Faulted(Fault.INCORRECT_PARAMETERS)
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool, int)}
    for value, parameter in zip(parameters, wanted, strict=False):
        allowed = kinds.get(str(parameter.annotation), (str, int))
        if not isinstance(value, allowed):
            raise Faulted(Fault.INCORRECT_PARAMETERS, parameter.name)


async def _multicall(control: Control, parameters: tuple[Any, ...]) -> list[object]:
    """Several calls in one; each has its result or its fault. Raises Faulted."""
    if len(parameters) != 1 or not isinstance(parameters[0], list):
        raise Faulted(Fault.INCORRECT_PARAMETERS)
    return [await _one_of_several(control, one) for one in parameters[0]]


async def _one_of_several(control: Control, one: object) -> object:
    try:
        if not isinstance(one, dict) or one.get("methodName") == "system.multicall":
            raise Faulted(Fault.INCORRECT_PARAMETERS)
        given = one.get("params", [])
        if not isinstance(given, list):
            raise Faulted(Fault.INCORRECT_PARAMETERS, "params")
        return await call(control, str(one.get("methodName")), tuple(given))
    except (Faulted, CrecheError) as error:
        faulted = _faulted(error)
        return {"faultCode": int(faulted.fault), "faultString": faulted.text}
