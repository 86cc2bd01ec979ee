"""The document as text: strict JSON in UTF-8."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from flows.configuration.faults import ConfigurationInvalid, Faults, inside
from scripts.protocol.strict_json import is_exact

# The JSON Schema library allows 128 levels.
MAX_DEPTH = 100


def read_document(raw: bytes) -> Any:
    """Parse a document. Raises ConfigurationInvalid unless it is strict JSON in UTF-8."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(
            f"The document is not UTF-8: byte {error.start} (0x{raw[error.start]:02x}) is wrong."
        ) from error
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float
        )
    except RecursionError as error:
        raise ConfigurationInvalid(_too_deep()) from error
    except ValueError as error:
        raise ConfigurationInvalid(f"The document is not JSON: {error}") from error


def write_document(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def check_values(document: Any, faults: Faults) -> None:
    """Find values that cannot be stored: NUL, lone surrogates, NaN, too deep nesting, no JSON."""
    # A list instead of recursion: a document may be nested deeper than Python calls can be.
    todo: list[tuple[str, Any, int]] = [("", document, 1)]
    while todo:
        path, value, depth = todo.pop()
        if detail := _fault(value):
            faults.add(path, detail)
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                faults.add("", _too_deep())
                return
            children = [(inside(path, key), item, depth + 1) for key, item in _items(value)]
            todo.extend(reversed(children))


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str | int, Any]]:
    yield from value.items() if isinstance(value, dict) else enumerate(value)


def _fault(value: Any) -> str | None:
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, float):
        return None if math.isfinite(value) else "is not a number that JSON has"
    if isinstance(value, dict):
        keys = (_text_fault(key) if isinstance(key, str) else "" for key in value)
        return next(
            (f"a key {fault or 'is not a string'}" for fault in keys if fault is not None), None
        )
    if value is None or isinstance(value, bool | int | list):
        return None
    return f"is not JSON: {type(value).__name__}"


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "contains the character \\u0000, which cannot be stored"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"contains half a character (\\u{ord(text[error.start]):04x})"
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {json.dumps(key)} stands twice in one object")
        result[key] = value
    return result


def _float(digits: str) -> float:
    value = float(digits)
    if math.isfinite(value) and not is_exact(digits, value):
        raise ValueError(f"the number {digits} has more digits than a double can hold")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _too_deep() -> str:
    return f"The document is nested too deep: more than {MAX_DEPTH} levels."
