"""Whether an output can go on: checked on its text alone, before any of it is stored.

A script can reach its host's pipe by tricks and write there what no host writes. So the worker
repeats the checks of the host: an output that passes here can be stored and handed on.
"""

import re
from typing import Any

import orjson

from scripts.protocol.errors import OutputInvalid
from scripts.protocol.json_text import (
    MAX_DEPTH,
    MAX_DIGITS,
    depth_of,
    has_long_integer,
    is_deeper_than,
    place_deeper_than,
)

# The first digits are kept: they may belong to an escape in a string.
_VERY_LONG_NUMBER = re.compile(rb"(?<!\d)(\d{4})\d{296,}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def fault_of(text: bytes, body: bytes, correlation_id: str, is_last: bool) -> OutputInvalid | None:
    """Return why a script's output cannot go on, None where it can.

    `body` is the message that the script was given: a step may pass on a payload of any depth that
    it got. Raises ValueError where the output is no JSON at all.
    """
    try:
        value = orjson.loads(text)
    except ValueError:
        if is_deeper_than(text, MAX_DEPTH + 2):
            return _too_deep(text, MAX_DEPTH)
        # orjson refuses integers of more than 308 digits, JSON does not.
        value = orjson.loads(_VERY_LONG_NUMBER.sub(rb"\1", text))
        if has_long_integer(text):
            return OutputInvalid(f"The output has an integer of more than {MAX_DIGITS} digits.")
    if _is_plain(text, value, correlation_id):
        return None
    fault = None if is_last else _fault_of_structure(value, correlation_id)
    if fault is not None:
        return fault
    if b"\\u0000" in text and _NUL.search(text):
        return OutputInvalid("The output holds a NUL character.", place="$")
    return _fault_of_depth(text, body, value)


def _is_plain(text: bytes, value: Any, correlation_id: str) -> bool:
    """Whether nothing can be wrong with the output: a fast check that nearly every one passes."""
    return (
        type(value) is dict
        and value.get("correlationId") == correlation_id
        and "payload" in value
        and text.count(b"[") + text.count(b"{") <= MAX_DEPTH
        and b"\\u0000" not in text
    )


def _fault_of_structure(value: Any, correlation_id: str) -> OutputInvalid | None:
    if type(value) is dict:
        return _fault_of_message(value, correlation_id, "$")
    if type(value) is not list:
        return OutputInvalid("The output must be an object with a payload.", place="$")
    for index, item in enumerate(value):
        place = f"$[{index}]"
        if type(item) is not dict:
            return OutputInvalid(f"{place} must be an object with a payload.", place=place)
        if fault := _fault_of_message(item, correlation_id, place):
            return fault
    return None


def _fault_of_message(
    message: dict[str, Any], correlation_id: str, place: str
) -> OutputInvalid | None:
    what = "The output" if place == "$" else place
    if "payload" not in message:
        return OutputInvalid(f"{what} has no payload.", place=f"{place}.payload")
    if message.get("correlationId") != correlation_id:
        return OutputInvalid(f"{what} has another correlationId.", place=f"{place}.correlationId")
    return None


def _fault_of_depth(text: bytes, body: bytes, value: Any) -> OutputInvalid | None:
    """Payloads have a greatest depth; their envelope and a list around it add to it."""
    around = _levels_around_payload(value)
    if not is_deeper_than(text, MAX_DEPTH + around):
        return None
    if depth_of(text) - around < depth_of(body):
        return None
    return _too_deep(text, MAX_DEPTH + around)


def _levels_around_payload(value: Any) -> int:
    """Count the levels around the payload. The result of a run may be any JSON, often a message."""
    if type(value) is list and value:
        return 2 if _is_message(value[0]) else 0
    return 1 if _is_message(value) else 0


def _is_message(value: Any) -> bool:
    return type(value) is dict and "payload" in value


def _too_deep(text: bytes, most: int) -> OutputInvalid:
    place = place_deeper_than(text, most)
    return OutputInvalid(f"{place} is nested more than {MAX_DEPTH} deep.", place=place)
