"""JSON text read by Python's own parser, with the place of a refused part.

Two things are refused: a key that stands twice in one object, since parsers differ in which one
they take, and a number that would be written in another way than it came.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import Any

from scripts.protocol.json_layout import Way, path_of
from scripts.protocol.json_text import MAX_DIGITS, shortened
from scripts.protocol.numerals import decimal

_TOO_LARGE = "is a number beyond what a double can hold"
_TOO_LONG = f"is a number with more than {MAX_DIGITS} digits"
# No double is near integers beyond this.
_MAX_INTEGER_DIGITS = 308


class Refused(ValueError):
    """The text has a part that could not be passed on unchanged."""

    def __init__(self, place: str, detail: str) -> None:
        super().__init__(f"{place} {detail}.")
        self.place = place
        self.detail = detail


class _Fault:
    """Stands in the place of a refused part."""

    def __init__(self, detail: str, key: str | None = None) -> None:
        self.detail = detail
        self.key = key


def read_exactly(text: str | bytes, integer_digits: int = _MAX_INTEGER_DIGITS) -> Any:
    """Return the value with exact numbers; those with a point are Decimal.

    `integer_digits`: how long integers may be. Raises Refused, ValueError where the text is no
    JSON, RecursionError where it is nested very deep.
    """
    return _read(text, _exact_number, integer_digits)


def read_plainly(text: str | bytes) -> Any:
    """Return the value with plain numbers. Raises as `read_exactly` does, and Refused for a
    number whose value a float does not have.
    """
    return _read(text, _plain_number, _MAX_INTEGER_DIGITS)


def _read(text: str | bytes, number: Callable[[str], Any], integer_digits: int) -> Any:
    faults: list[_Fault] = []

    def noted(value: Any) -> Any:
        if isinstance(value, _Fault):
            faults.append(value)
        return value

    value = json.loads(
        text,
        object_pairs_hook=lambda pairs: noted(_object(pairs)),
        parse_float=lambda digits: noted(number(digits)),
        parse_int=lambda digits: noted(_integer(digits, integer_digits)),
        parse_constant=_refuse_constant,
    )
    if faults:
        raise _refused(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Fault("is a key that stands twice in one object", key)
        seen.add(key)
    return members


def _integer(digits: str, most: int) -> Any:
    if len(digits.lstrip("-")) <= most:
        return int(digits)
    return _Fault(_TOO_LARGE if most < MAX_DIGITS else _TOO_LONG)


def _exact_number(digits: str) -> Any:
    if len(digits) > MAX_DIGITS:
        return _Fault(_TOO_LONG)
    return _Fault(_TOO_LARGE) if isinf(float(digits)) else decimal(digits)


def _plain_number(digits: str) -> Any:
    value = float(digits)
    if isinf(value) or len(digits) > MAX_DIGITS:
        return _Fault(_TOO_LARGE if isinf(value) else _TOO_LONG)
    if not is_exact(digits, value):
        return _Fault(f"is a number with more digits than a double can hold, which has {value!r}")
    return value


def is_exact(digits: str, value: float) -> bool:
    """Whether the float has exactly the value of the written number."""
    try:
        return Decimal(digits) == Decimal(repr(value))
    except InvalidOperation:
        # The exponent is beyond what Decimal holds: no float is as small, but for zero itself.
        return not value and not digits.lower().partition("e")[0].strip("-0.")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refused(root: Any) -> Refused:
    todo: list[tuple[Way, Any]] = [(None, root)]
    while todo:
        way, value = todo.pop()
        if isinstance(value, _Fault):
            way = way if value.key is None else (way, value.key)
            return Refused(shortened(path_of(way)), value.detail)
        if isinstance(value, dict | list):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            todo.extend(reversed([((way, step), item) for step, item in parts]))
    # The object with the fault stands under a key that itself stands twice.
    return Refused("$", "has a key that stands twice in one object")
