"""Integers that a JavaScript number cannot hold, made strings that become BigInts in the realm.

Such a string begins with a NUL, which no string of a message can have.
"""

import re

# A number has 53 bits. Integers beyond that have 16 digits or more.
_DIGITS_AS_ZEROS = bytes(ord("0") if chr(byte).isdigit() else ord(" ") for byte in range(128)) + (
    b" " * 128
)
_LONG_NUMBER = b"0" * 16
_STRING_OR_LONG_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d{16,}(?:[.eE][-+.\deE]*)?')
_MAX_NUMBER = 2**53 - 1


def with_long_integers_marked(text: bytes) -> bytes | None:
    """Mark those of a JSON text; None if there are none."""
    if _LONG_NUMBER not in text.translate(_DIGITS_AS_ZEROS):
        return None
    marked = _STRING_OR_LONG_NUMBER.sub(_marked, text)
    return None if marked == text else marked


def _marked(match: re.Match[bytes]) -> bytes:
    token = match[0]
    digits = token.removeprefix(b"-")
    if digits.isdigit() and (len(digits) > 16 or int(digits) > _MAX_NUMBER):
        return b'"\\u0000' + token + b'"'
    return token
