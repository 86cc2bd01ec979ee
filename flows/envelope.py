"""The message's envelope: `{"correlationId", "payload", …}` around a payload kept as text."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import orjson

from flows.errors import PayloadInvalid


def parse_payload(raw: bytes) -> dict[str, Any]:
    """Return the payload, a JSON object.

    Raises PayloadInvalid for everything that could not travel: broken or too deep JSON, NaN and
    Infinity, lone surrogates, NUL characters, and values that are not an object.
    """
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise PayloadInvalid(f"The body is not valid JSON: {error}") from error
    if not isinstance(payload, dict):
        raise PayloadInvalid("The payload must be a JSON object.")
    if b"\\u0000" in raw and (path := find_nul(payload)):
        raise PayloadInvalid(
            f"The character \\u0000 cannot be stored: {path}",
            errors=[{"path": path, "detail": "contains the character \\u0000"}],
        )
    return payload


def find_nul(value: Any) -> str | None:
    """Return where a string with a NUL character is, as a JSON path.

    It walks with a list of its own: a value may be nested as deep as the parser allows.
    """
    todo: list[tuple[str, Any]] = [("$", value)]
    while todo:
        path, item = todo.pop()
        if isinstance(item, str) and "\0" in item:
            return path
        if isinstance(item, dict):
            if any("\0" in key for key in item):
                return path
            todo.extend((f"{path}.{key}", child) for key, child in item.items())
        elif isinstance(item, list):
            todo.extend((f"{path}[{index}]", child) for index, child in enumerate(item))
    return None


def dump_payload(payload: Any) -> bytes:
    """Serialise a Python payload and hold it to the same rules as one that came as text."""
    try:
        raw = json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        encoded = raw.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadInvalid(f"The payload is not JSON: {error}") from error
    parse_payload(encoded)
    return encoded


def wrap(correlation_id: UUID, payload: bytes) -> str:
    return f'{{"correlationId":"{correlation_id}","payload":{payload.decode()}}}'


def with_payload(body: str, payload: bytes) -> str:
    """Return the envelope with another payload; its additional properties stay."""
    envelope = json.loads(body)
    envelope.pop("payload", None)
    rest = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    return f'{rest[:-1]},"payload":{payload.decode()}}}'
