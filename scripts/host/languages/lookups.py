"""The look-ups of JavaScript in reference tables: what `prelude/table.js` asks, and the answers."""

from __future__ import annotations

import json
from typing import Any

import orjson

from scripts.host.tables import TableFile, Tables

# The keys that are given at once.
_KEYS = 500


def answer_of(tables: Tables, request: bytes) -> bytes | None:
    """Return a text or None. Raises KeyError and RuntimeError as `Tables.file` does."""
    what, name, *arguments = json.loads(request)
    file = tables.file(name)
    if what == "open":
        return orjson.dumps({"size": file.size, "columns": file.columns})
    if what == "keys":
        return _keys(file, int(arguments[0]))
    text = file.text(arguments[0])
    return b"" if what == "has" and text is not None else text


def _keys(file: TableFile, place: int) -> bytes:
    """Return some keys from a place on, 0 the first, and the place of the next, 0 for none."""
    keys: list[Any] = []
    for key, _, following in file.rows(place) if place else file.rows():
        keys.append(key)
        if len(keys) == _KEYS:
            return orjson.dumps([keys, 0 if following >= file.end_of_rows else following])
    return orjson.dumps([keys, 0])
