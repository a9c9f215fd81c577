"""Strict reading of TOML: an error names file, line, key, and the nearest right key."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import Any, TypeVar

import msgspec

from drivers.errors import ConfigError

T = TypeVar("T")

MAX_BYTES = 1024 * 1024
_UNKNOWN = re.compile(
    r"Object contains unknown field `(?P<key>.*?)`(?: - at `\$?(?P<at>.*)`)?$", re.S
)
_WRONG = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$?(?P<at>.*)`)?$", re.S)
_TABLE = re.compile(r"\s*\[+\s*(?P<name>[^\]]+?)\s*\]+")
_KEY = re.compile(
    r"""\s*(?:"(?P<quoted>[^"]+)"|'(?P<literal>[^']+)'|(?P<bare>[A-Za-z0-9_.-]+))\s*="""
)


def parse(text: str, file: str) -> dict[str, Any]:
    """The document. Raises ConfigError for what is no TOML, or too much of it."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_BYTES} bytes")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = found[1] if found else str(text.count("\n") + 1)
        raise ConfigError(f"{file}:{line}: {str(error).partition(' (at')[0].lower()}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deeply") from error


def convert(data: object, type_: type[T], *, file: str, text: str, at: tuple[str, ...]) -> T:
    """`data`, which stands at the table `at` of the file, as a strict struct.

    Raises ConfigError.
    """
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        raise _explain(str(error), type_, file=file, text=text, at=at) from error


def _explain(
    message: str, type_: type, *, file: str, text: str, at: tuple[str, ...]
) -> ConfigError:
    unknown = _UNKNOWN.match(message)
    if unknown is not None:
        inner = _parts(unknown["at"] or "")
        key = unknown["key"]
        known = _fields_at(type_, inner)
        near = difflib.get_close_matches(key, known, 1, 0.5)
        hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(known))}"
        where = (*at, *inner, key)
        return ConfigError(f"{file}:{line_of(text, where)}: {'.'.join(where)}: unknown key, {hint}")
    wrong = _WRONG.match(message)
    assert wrong is not None
    where = (*at, *_parts(wrong["at"] or ""))
    what = wrong["what"].strip()
    values = _values_at(type_, _parts(wrong["at"] or ""))
    those = f", known are {', '.join(values)}" if values else ""
    return ConfigError(
        f"{file}:{line_of(text, where)}: {'.'.join(where)}: {what[0].lower()}{what[1:]}{those}"
    )


def _parts(path: str) -> tuple[str, ...]:
    """The keys of msgspec's path: ".limits.memory", ".log[0]", "[...]"."""
    return tuple(part for part in re.split(r"\.|\[[^\]]*\]", path) if part and part != "...")


def _fields_at(type_: type, path: tuple[str, ...]) -> list[str]:
    """The keys that the struct at `path` below `type_` knows."""
    info = _info_at(type_, path)
    return [f.encode_name for f in getattr(_struct_of(info), "fields", ())]


def _values_at(type_: type, path: tuple[str, ...]) -> list[str]:
    """The words that are allowed at `path`, where only some are."""
    return [str(value) for value in getattr(_info_at(type_, path), "values", ())]


def _info_at(type_: type, path: tuple[str, ...]) -> Any:
    """What msgspec knows of the type at `path` below `type_`."""
    info: Any = msgspec.inspect.type_info(type_)
    for key in path:
        fields = {f.encode_name: f.type for f in getattr(_struct_of(info), "fields", ())}
        info = fields.get(key, info)
    return info


def _struct_of(info: Any) -> Any:
    """The struct inside a union, an array or a mapping."""
    for name in ("types", "item_type", "value_type"):
        inner = getattr(info, name, None)
        if inner is not None:
            for candidate in inner if isinstance(inner, tuple) else (inner,):
                found = _struct_of(candidate)
                if hasattr(found, "fields"):
                    return found
    return info


def line_of(text: str, where: tuple[str, ...]) -> int:
    """The line at which a key stands, or the nearest table above it; counted from 1."""
    best, best_length = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _TABLE.match(line)
        key = _KEY.match(line)
        if header is not None and key is None:
            table = _split(header["name"])
            here = table
        elif key is not None:
            here = (*table, *_split(key["quoted"] or key["literal"] or key["bare"]))
        else:
            continue
        if where[: len(here)] == here and len(here) > best_length:
            best, best_length = number, len(here)
    return best


def _split(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in name.split("."))
