"""How the numbers of a message are written: an unchanged number leaves as it came.

A script gets ordinary numbers. Python would write some of them in another way than they came: 1.50,
1e5, -0, or 1234567890123456.78, which a double cannot hold. Their writing is kept beside the number
object and found again by its identity. A number that a script computes is another object.
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

import orjson

from scripts.protocol.json_text import STRING

# The identity of a number -> the number, which keeps the identity its own, and its writing.
Numerals = dict[int, tuple[Any, str]]

# Matches numbers that Python or JavaScript may write in another way, and some more: of 16 digits,
# with an exponent, with a zero at the end of their fraction or many at its beginning, and -0.
_AT_RISK = re.compile(
    rb"[\[:,\s](?=[-\d])"
    rb"(?:-0(?![.\d])|-?(?:\d[\d.]{15}|\d++(?:[eE]|\.\d++(?:(?<=0)|[eE]))|0\.00000))"
)
_STRING = re.compile(STRING, re.DOTALL)
# What stands neither in a number nor beside one.
_NO_NUMBER = bytes(set(range(256)) - set(b'[]{}:,"-.0123456789eE \t\n\r\f\v'))
# The integers that orjson writes.
_LEAST, _MOST = -(2**63), 2**64 - 1
_BLANKS = b" \t\n\r"
# A schema compares smaller numbers wrongly if it gets all their digits.
_SMALLEST_EXPONENT = -300


class MinusZero(int):
    """The integer -0, which Python does not have."""

    __slots__ = ()

    def __copy__(self) -> "MinusZero":
        return self

    def __deepcopy__(self, memo: Any) -> "MinusZero":
        return self


# Scripts may show the name.
MinusZero.__name__ = MinusZero.__qualname__ = "int"


def may_change(text: bytes) -> bool:
    """Whether a JSON text has numbers that would be written in another way."""
    if text[:1] in b"-0123456789":
        return True
    # A first search, in fewer characters: it may find too much, never too little.
    if _AT_RISK.search(text.translate(None, _NO_NUMBER)) is None:
        return False
    quotes = at = 0
    for match in _AT_RISK.finditer(text):
        # A match is often a part of a string.
        if text.find(b"\\", at, match.start()) >= 0:
            return _AT_RISK.search(_STRING.sub(b'""', text)) is not None
        quotes += text.count(b'"', at, match.start())
        at = match.start()
        if quotes % 2 == 0:
            return True
    return False


def is_as_written(text: bytes, value: Any) -> bool:
    """Whether Python would write the value of a JSON text exactly as the text has it."""
    try:
        written = orjson.dumps(value)
    except TypeError:
        # The value is nested deeper than orjson writes.
        return not may_change(text)
    if written == text:
        return True
    # In strings the same blanks are removed on both sides.
    if written.translate(None, _BLANKS) == text.translate(None, _BLANKS):
        return True
    return not may_change(text)


def is_written_by_orjson(text: bytes, value: Any) -> bool:
    """Whether orjson would write the value of a JSON text in this very text."""
    try:
        return orjson.dumps(value) == text
    except TypeError:
        # It is nested deeper than orjson writes.
        return False


def loads(text: bytes | str, numerals: Numerals) -> Any:
    """Read JSON text and keep how its numbers were written. Integers keep all their digits."""

    def number(digits: str) -> float:
        value = float(digits)
        # What is too large for a float has no JSON, however it was written.
        if isfinite(value):
            numerals[id(value)] = value, digits
        return value

    def integer(digits: str) -> int:
        if digits != "-0":
            return int(digits)
        zero = MinusZero()
        numerals[id(zero)] = zero, digits
        return zero

    return json.loads(text, parse_float=number, parse_int=integer)


def exact(text: bytes) -> Any:
    """Read JSON text with the exact values of its numbers, for a JSON Schema.

    Numbers that Python might write in another way are Decimal.
    """
    return json.loads(text, parse_float=decimal)


def as_written(value: Any, numerals: Numerals) -> Any:
    """Return the value for orjson to write, with kept numbers replaced by their writing.

    Raises RecursionError where the value is nested very deep or contains itself.
    """
    return _replaced(value, lambda number: writing_of(number, numerals))


def writing_of(number: Any, numerals: Numerals | None) -> str | None:
    """Return how a number was written, None where a script has made it."""
    known = numerals.get(id(number)) if numerals else None
    return known[1] if known is not None else None


def dumps(value: Any) -> bytes:
    """Write JSON text with Decimals and with integers of any length, else as orjson does."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_replaced(value, _writing_for_orjson))


def _writing_for_orjson(value: Any) -> str | None:
    if isinstance(value, Decimal) or (type(value) is int and not _LEAST <= value <= _MOST):
        return str(value)
    return None


def _replaced(value: Any, writing: Callable[[Any], str | None]) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _replaced(item, writing) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_replaced(item, writing) for item in value]
    if kind is str or value is None:
        return value
    text = writing(value)
    return value if text is None else orjson.Fragment(text)


def decimal(digits: str) -> Decimal | float:
    """Return the exact value of a number, as far as a JSON Schema can distinguish it."""
    try:
        value = Decimal(digits)
    except InvalidOperation:
        # Its exponent is beyond what Decimal holds.
        return float(digits)
    return value if value.adjusted() > _SMALLEST_EXPONENT or not value else float(digits)
