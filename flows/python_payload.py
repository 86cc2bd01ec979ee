"""A payload given as Python values, written as JSON text.

Values that JSON has no form for are written as Django's own encoder writes them: datetime, date,
time and timedelta as ISO 8601, UUID and Decimal as strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from flows.errors import PayloadInvalid
from scripts.json_layout import path_step


class _Encoder(DjangoJSONEncoder):
    def default(self, value: Any) -> Any:
        return dict(value) if isinstance(value, Mapping) else super().default(value)


def write_payload(payload: Any) -> bytes:
    """Return the payload as JSON text. Raises PayloadInvalid with the place of what is no JSON."""
    try:
        text = json.dumps(
            payload, cls=_Encoder, allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _located(payload, error) from error


def _located(payload: Any, error: Exception) -> PayloadInvalid:
    for place, detail in _faults(payload):
        return PayloadInvalid(f"{place} {detail}.", errors=[{"path": place, "detail": detail}])
    return PayloadInvalid(f"The payload is not JSON: {error}")


def _faults(payload: Any) -> Iterator[tuple[str, str]]:
    """Yield what cannot be written, with its place, in the order of the payload.

    With a list of its own, since a payload may be nested deeper than Python calls can be.
    """
    todo: list[tuple[str, Any, frozenset[int]]] = [("$", payload, frozenset())]
    while todo:
        place, value, around = todo.pop()
        if isinstance(value, Mapping | list | tuple):
            if id(value) in around:
                yield place, "contains itself"
                continue
            children = list(_children(place, value))
            todo.extend((*child, around | {id(value)}) for child in reversed(children))
        elif fault := _fault(value):
            yield place, fault
        if isinstance(value, Mapping):
            yield from ((place, fault) for key in value if (fault := _key_fault(key)))


def _children(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((place + path_step(str(key)), item) for key, item in value.items())
    else:
        yield from ((f"{place}[{index}]", item) for index, item in enumerate(value))


def _fault(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which JSON does not have"
    if isinstance(value, str):
        return _text_fault(value)
    try:
        _Encoder().encode(value)
    except (TypeError, ValueError) as error:
        name = type(value).__name__
        return f"is of type {name}, which JSON does not have" + _reason(error, name)
    return ""


def _reason(error: Exception, name: str) -> str:
    """Return what the encoder says beyond the type: a time with a zone, for example."""
    told = str(error)
    return "" if "is not JSON serializable" in told else f": {told}"


def _key_fault(key: Any) -> str:
    if isinstance(key, str):
        fault = _text_fault(key)
        return f"has a key that {fault}" if fault else ""
    if (
        key is None
        or isinstance(key, bool | int)
        or (isinstance(key, float) and math.isfinite(key))
    ):
        return ""
    return f"has the key {key!r}, which is no string"


def _text_fault(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"has half a character (\\u{ord(text[error.start]):04x})"
    return ""
