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
            result: Any = await _multicall(control, *parameters)
        else:
            result = await call(control, name, parameters)
        xml = xmlrpc.client.dumps((result,), methodresponse=True, allow_none=False)
    except Faulted as faulted:
        xml = _fault(faulted.fault, faulted.text)
    except CrecheError as error:
        fault = fault_code(error)
        xml = _fault(fault, f"{fault.name}: {error}")
    return Response(body=xml.encode("utf-8", "xmlcharrefreplace"), content_type="text/xml")


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


async def _multicall(control: Control, calls: object) -> list[object]:
    """Several calls in one; each has its result or its fault."""
    if not isinstance(calls, list):
        raise Faulted(Fault.INCORRECT_PARAMETERS)
    results: list[object] = []
    for one in calls:
        try:
            if not isinstance(one, dict) or one.get("methodName") == "system.multicall":
                raise Faulted(Fault.INCORRECT_PARAMETERS)
            name = str(one.get("methodName"))
            results.append(await call(control, name, tuple(one.get("params", ()))))
        except Faulted as faulted:
            results.append({"faultCode": int(faulted.fault), "faultString": faulted.text})
    return results
