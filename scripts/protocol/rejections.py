"""What a script may say about a message that it rejects, besides the reason."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable
from typing import Any

from scripts.protocol.envelope import encode, plain_text, require_small
from scripts.protocol.errors import OutputInvalid
from scripts.protocol.wire import MAX_REQUEST_BYTES, MAX_TEXT_LENGTH

MAX_CODE_LENGTH = 100


def code_of(code: object) -> str | None:
    """Return a code as it is stored, None for none."""
    if code is None or code == "":
        return None
    return plain_text(str(code), MAX_CODE_LENGTH - 1)


def details_of(details: Any, shown: Callable[[Any], str]) -> str | None:
    """Return the details of a rejection as JSON text, whatever a script has put there.

    What JSON cannot hold is a text, as `shown` makes it.
    """
    if details is None:
        return None
    try:
        require_small(details, MAX_REQUEST_BYTES)
    except OutputInvalid:
        beginning = plain_text(reprlib.repr(details), MAX_TEXT_LENGTH // 8)
        return json.dumps({"tooLong": MAX_REQUEST_BYTES, "beginning": beginning})
    try:
        return bounded(encode(details).decode())
    except OutputInvalid:
        return bounded(json.dumps(shown(details)))


def bounded(details: str) -> str:
    """Return details, a JSON text, or their beginning where they are too long to be kept."""
    # An escape takes up to six characters.
    if len(details) <= MAX_TEXT_LENGTH:
        return details
    beginning = plain_text(details, MAX_TEXT_LENGTH // 8)
    return json.dumps({"tooLong": len(details), "beginning": beginning})


def as_json(details: str | None) -> str | None:
    """Return details that came from a host, as JSON text in any case."""
    if details is None:
        return None
    try:
        json.loads(details)
    except ValueError:
        # What stands in place of a secret may have cut it.
        return json.dumps(details)
    return details
