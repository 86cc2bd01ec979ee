"""The order of keys that JavaScript would sort: those that are integers come first in an object."""

import json
import re
from typing import Any

import orjson

_INTEGER_KEY = re.compile(rb'"(?:0|[1-9]\d{0,9})"\s*:')
_INTEGER = re.compile(r"0|[1-9]\d{0,9}")


def key_orders(text: bytes) -> bytes | None:
    """Return for each object with such a key [the way to it, its keys], as JSON; None: there is no
    such object.
    """
    if _INTEGER_KEY.search(text) is None:
        return None
    orders: list[tuple[list[str | int], list[str]]] = []
    parts: list[tuple[list[str | int], Any]] = [([], json.loads(text))]
    while parts:
        way, value = parts.pop()
        if isinstance(value, dict):
            if len(value) > 1 and any(map(_INTEGER.fullmatch, value)):
                orders.append((way, list(value)))
            parts += [([*way, key], item) for key, item in value.items() if _has_parts(item)]
        elif isinstance(value, list):
            parts += [([*way, index], item) for index, item in enumerate(value) if _has_parts(item)]
    return orjson.dumps(orders) if orders else None


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list)
