"""The message's envelope: `{"correlationId", "payload", …}` around a payload kept as text."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import orjson

from flows.errors import PayloadInvalid
from scripts.protocol.json_layout import Way, member, path_of, place_at, with_member
from scripts.protocol.json_text import (
    MAX_DEPTH,
    MAX_DIGITS,
    is_deeper_than,
    place_deeper_than,
    shortened,
)
from scripts.protocol.numerals import may_change
from scripts.protocol.strict_json import Refused, read_exactly

_ESCAPED_COLON = re.compile(rb"\\u003[aA]")
# Bytes. For a larger broken body the error has line and column, but no JSON path.
_MOST_TO_SEARCH = 100_000


def parse_payload(
    raw: bytes, what: str = "The payload", around: int = 0, *, comes_back: bool = False
) -> dict[str, Any]:
    """Return the payload of a start, a JSON object. Raises as `parse_value` does."""
    payload = parse_value(raw, around, comes_back=comes_back)
    if not isinstance(payload, dict):
        raise PayloadInvalid(f"{what} must be a JSON object.")
    return payload


def parse_value(raw: bytes, around: int = 0, *, comes_back: bool = False) -> Any:
    """Return a payload with exact numbers.

    Numbers that a double would change are Decimal or int. The payload may be nested MAX_DEPTH deep;
    `around` is the number of levels around it. One that `comes_back`, to a run that has failed or
    is started again, may have what an output has: integers of MAX_DIGITS.

    Raises PayloadInvalid for everything that could not travel: broken or too deep JSON, NaN and
    Infinity, numbers beyond a double, keys that stand twice in one object, lone surrogates and NUL
    characters.
    """
    if is_deeper_than(raw, MAX_DEPTH + around):
        place = place_deeper_than(raw, MAX_DEPTH + around)
        detail = f"is nested more than {MAX_DEPTH} deep"
        raise PayloadInvalid(f"{place} {detail}.", errors=[{"path": place, "detail": detail}])
    longest = {"integer_digits": MAX_DIGITS} if comes_back else {}
    is_exact = False
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        value, is_exact = _read_slowly(raw, error, **longest), True
    if b"\\u0000" in raw and (path := find_nul(value)):
        raise PayloadInvalid(
            f"The character \\u0000 cannot be stored: {path}",
            errors=[{"path": path, "detail": "contains the character \\u0000"}],
        )
    return value if is_exact else _exact(value, raw, **longest)


def _read_slowly(raw: bytes, error: orjson.JSONDecodeError, **longest: int) -> Any:
    """Return what orjson cannot read: integers beyond a double. Raises PayloadInvalid."""
    try:
        # It finds the place of a number that is too large.
        value = read_exactly(raw.decode(), **longest)
        # It refuses lone surrogates, as orjson does.
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except Refused as refused:
        raise _refused(refused) from refused
    except (ValueError, RecursionError):
        raise _not_json(raw, error) from error
    if not longest:
        raise _not_json(raw, error) from error
    return value


def _not_json(raw: bytes, error: orjson.JSONDecodeError) -> PayloadInvalid:
    try:
        raw.decode()
    except UnicodeDecodeError as broken:
        return PayloadInvalid(
            f"The body is not UTF-8: its byte {broken.start + 1} is {raw[broken.start]:#04x}."
        )
    message = f"The body is not valid JSON: {error}"
    if len(raw) > _MOST_TO_SEARCH:
        return PayloadInvalid(message)
    place = place_at(raw.decode(), error.pos)
    return PayloadInvalid(message, errors=[{"path": place, "detail": error.msg}])


def _exact(value: Any, raw: bytes, **longest: int) -> Any:
    """Return the value with exact numbers: `value` itself where orjson has read it exactly.

    orjson keeps the last of repeated keys. It writes a colon after each key, and leaves the colons
    in strings as they are.
    """
    written = orjson.dumps(value)
    if written == raw:
        return value
    has_all_keys = written.count(b":") == raw.count(b":") and not _ESCAPED_COLON.search(raw)
    if has_all_keys and not may_change(raw):
        return value
    try:
        return read_exactly(raw, **longest)
    except Refused as refused:
        raise _refused(refused) from refused


def _refused(refused: Refused) -> PayloadInvalid:
    return PayloadInvalid(str(refused), errors=[{"path": refused.place, "detail": refused.detail}])


def find_nul(value: Any) -> str | None:
    """Return the JSON path of a string with a NUL character.

    It uses a list, not recursion: a value may be nested as deep as the parser allows.
    """
    todo: list[tuple[Way, Any]] = [(None, value)]
    while todo:
        way, item = todo.pop()
        if isinstance(item, str) and "\0" in item:
            return shortened(path_of(way))
        if isinstance(item, dict):
            for key in item:
                if "\0" in key:
                    return shortened(path_of((way, key)))
            todo.extend(((way, key), child) for key, child in item.items())
        elif isinstance(item, list):
            todo.extend(((way, index), child) for index, child in enumerate(item))
    return None


def wrap(correlation_id: UUID, payload: bytes) -> str:
    return f'{{"correlationId":"{correlation_id}","payload":{payload.decode()}}}'


def with_payload(body: str, payload: bytes) -> str:
    """Return the envelope with another payload. The rest stays as it is written."""
    return with_member(body, "payload", payload.decode())


def payload_of(body: str) -> str | None:
    """Return the text of the payload in an envelope, None if it has none."""
    return member(body, "payload")


def takes_any_payload(body: str) -> bool:
    """Return whether the payload is not an object, as behind a join. Any value may replace it."""
    return not (payload_of(body) or "{").startswith("{")
