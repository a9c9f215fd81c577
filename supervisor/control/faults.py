"""One table from errors to what clients of each protocol are told."""

from __future__ import annotations

import enum
from http import HTTPStatus

from drivers import errors as e


class Fault(enum.IntEnum):
    """supervisor's fault codes. Source: its xmlrpc module's documentation."""

    UNKNOWN_METHOD = 1
    INCORRECT_PARAMETERS = 2
    BAD_ARGUMENTS = 3
    SIGNATURE_UNSUPPORTED = 4
    SHUTDOWN_STATE = 6
    BAD_NAME = 10
    BAD_SIGNAL = 11
    NO_FILE = 20
    NOT_EXECUTABLE = 21
    FAILED = 30
    ABNORMAL_TERMINATION = 40
    SPAWN_ERROR = 50
    ALREADY_STARTED = 60
    NOT_RUNNING = 70
    SUCCESS = 80
    ALREADY_ADDED = 90
    STILL_RUNNING = 91
    CANT_REREAD = 92


# The first class that fits counts, so the special ones stand before the general.
TABLE: tuple[tuple[type[e.CrecheError], HTTPStatus, Fault], ...] = (
    (e.NotFound, HTTPStatus.NOT_FOUND, Fault.BAD_NAME),
    (e.NotRunning, HTTPStatus.CONFLICT, Fault.NOT_RUNNING),
    (e.AlreadyExists, HTTPStatus.CONFLICT, Fault.ALREADY_ADDED),
    (e.Conflict, HTTPStatus.CONFLICT, Fault.FAILED),
    (e.NotModified, HTTPStatus.NOT_MODIFIED, Fault.ALREADY_STARTED),
    (e.Forbidden, HTTPStatus.FORBIDDEN, Fault.FAILED),
    (e.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Fault.BAD_ARGUMENTS),
    (e.NotImplementedYet, HTTPStatus.NOT_IMPLEMENTED, Fault.FAILED),
    (e.InvalidRequest, HTTPStatus.BAD_REQUEST, Fault.INCORRECT_PARAMETERS),
    (e.RequestError, HTTPStatus.BAD_REQUEST, Fault.BAD_ARGUMENTS),
    (e.CommandNotFound, HTTPStatus.BAD_REQUEST, Fault.NO_FILE),
    (e.CommandNotExecutable, HTTPStatus.BAD_REQUEST, Fault.NOT_EXECUTABLE),
    (e.SpawnFailed, HTTPStatus.INTERNAL_SERVER_ERROR, Fault.SPAWN_ERROR),
    (e.ConfigError, HTTPStatus.BAD_REQUEST, Fault.CANT_REREAD),
    (e.DriverError, HTTPStatus.INTERNAL_SERVER_ERROR, Fault.FAILED),
    (e.CrecheError, HTTPStatus.INTERNAL_SERVER_ERROR, Fault.FAILED),
)


def http_status(error: e.CrecheError) -> HTTPStatus:
    """The status that tells of `error`."""
    return next(status for kind, status, _ in TABLE if isinstance(error, kind))


def fault_code(error: e.CrecheError) -> Fault:
    """The supervisor fault that tells of `error`."""
    return next(fault for kind, _, fault in TABLE if isinstance(error, kind))
