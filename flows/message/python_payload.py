"""A payload given as Python values, written as JSON text.

Values that JSON does not have are written as Django's encoder writes them: datetime, date, time and
timedelta as ISO 8601, UUID and Decimal as strings, and lazy texts as texts. Lazy texts may be keys,
too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import LazyObject, Promise

from flows.errors import PayloadInvalid
from scripts.protocol.json_layout import Way, path_of
from scripts.protocol.json_text import MAX_DEPTH, shortened

# Python's limit on digits is higher than that of doubles, and raises another error.
_MOST_BITS = 1024


class _Encoder(DjangoJSONEncoder):
    def default(self, value: Any) -> Any:
        if isinstance(value, Decimal) and not _is_finite(value):
            raise ValueError(_not_finite(value))
        plain = _unwrapped(value)
        if isinstance(plain, Mapping):
            return dict(plain)
        return super().default(plain) if plain is value else plain


_ENCODER = _Encoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
# Not floats: orjson writes NaN as null. Nor tuples, whose depth it does not bound.
_SCALARS = {str, int, bool, type(None)}


class _Fault(Exception):
    """The reason why a value cannot be written."""


def write_payload(payload: Any) -> bytes:
    """Return the payload as JSON text. Raises PayloadInvalid with the place of a value that JSON
    cannot have."""
    try:
        return _written(payload)
    except Exception as error:
        # Values have code of their own: a mapping may raise any exception.
        return _written_with_care(payload, error)


def _written(payload: Any) -> bytes:
    if type(payload) is dict and _SCALARS.issuperset(map(type, payload.values())):
        with suppress(orjson.JSONEncodeError):
            return orjson.dumps(payload, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    return _ENCODER.encode(payload).encode()


def _written_with_care(payload: Any, error: Exception) -> bytes:
    """Write a plain copy of the payload. The first value that cannot be copied is the fault."""
    holder: list[Any] = []
    # It uses a list, not recursion: a payload may be nested deeper than Python calls.
    todo: list[_Place] = [_Place(None, payload, holder, None, frozenset())]
    while todo:
        place = todo.pop()
        try:
            todo.extend(reversed(list(_copy(place))))
        except _Fault as fault:
            raise _refusal(place.way, str(fault)) from error
        except Exception as raised:
            detail = f"cannot be read: {type(raised).__name__}: {raised}"
            raise _refusal(place.way, detail) from raised
    try:
        return _written(holder[0])
    except (TypeError, ValueError, RecursionError) as again:
        raise PayloadInvalid(f"The payload is not JSON: {again}") from again


def _refusal(way: Way, detail: str) -> PayloadInvalid:
    path = shortened(path_of(way))
    return PayloadInvalid(f"{path} {detail}.", errors=[{"path": path, "detail": detail}])


class _Place:
    """A value, the way to it, the container of its copy, and the containers around it."""

    def __init__(
        self, way: Way, value: Any, into: Any, key: str | None, around: frozenset[int]
    ) -> None:
        self.way = way
        self.value = value
        self.into = into
        self.key = key
        self.around = around

    def fill(self, copy: Any) -> None:
        if self.key is None:
            self.into.append(copy)
        else:
            self.into[self.key] = copy

    def below(self, step: str | int, value: Any, into: Any, key: str | None) -> _Place:
        return _Place((self.way, step), value, into, key, self.around | {id(self.value)})


def _copy(place: _Place) -> Iterator[_Place]:
    """Put a copy of the value in its container; yield the places within it. Raises _Fault."""
    value = _unwrapped(place.value)
    if not isinstance(value, Mapping | list | tuple):
        if fault := _fault(value):
            raise _Fault(fault)
        place.fill(value)
        return
    if id(place.value) in place.around:
        raise _Fault("contains itself")
    if len(place.around) >= MAX_DEPTH:
        raise _Fault(f"is nested more than {MAX_DEPTH} deep")
    copy: Any = {} if isinstance(value, Mapping) else []
    place.fill(copy)
    if isinstance(value, Mapping):
        yield from _members(place, value, copy)
    else:
        for index, item in enumerate(value):
            yield place.below(index, item, copy, None)


def _members(place: _Place, value: Mapping[Any, Any], copy: dict[str, Any]) -> Iterator[_Place]:
    for original, item in value.items():
        key = _key(original)
        if key in copy:
            raise _Fault(f"has the key {key!r} twice")
        # The members stand in their order, whenever they are filled.
        copy[key] = None
        yield place.below(key, item, copy, key)


def _key(key: Any) -> str:
    """Return a key in the form that JSON has. Raises _Fault."""
    plain = _unwrapped(key)
    if not isinstance(plain, str):
        if fault := _key_fault(plain):
            raise _Fault(fault)
        return str(next(iter(json.loads(json.dumps({plain: 0})))))
    if fault := _text_fault(plain):
        raise _Fault(f"has a key that {fault}")
    return plain


def _unwrapped(value: Any) -> Any:
    """Return the value of a lazy text or a lazy object, and any other value as it is."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, LazyObject):
        # Reading its class evaluates it.
        assert value.__class__
        return value.__dict__["_wrapped"]
    return value


def _fault(value: Any) -> str:
    if isinstance(value, float | Decimal) and not _is_finite(value):
        return _not_finite(value)
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return "is a number beyond what a double can hold"
    try:
        _Encoder().encode(value)
    except (TypeError, ValueError) as error:
        name = type(value).__name__
        return f"is of type {name}, which JSON does not have" + _reason(error, name)
    return ""


def _is_finite(value: float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


def _not_finite(value: Any) -> str:
    return f"is {value}, which JSON does not have"


def _reason(error: Exception, name: str) -> str:
    """Return the encoder's reason, if it is more than the type: a time with a zone, for example."""
    told = str(error)
    return "" if "is not JSON serializable" in told else f": {told}"


def _key_fault(key: Any) -> str:
    if (
        key is None
        or isinstance(key, bool | int)
        or (isinstance(key, float) and math.isfinite(key))
    ):
        return ""
    return f"has the key {key!r}, which is no string"


def _text_fault(text: str) -> str:
    try:
        str.encode(text)
    except UnicodeEncodeError as error:
        return f"has half a character (\\u{ord(text[error.start]):04x})"
    return ""
