"""What a script may say about a message that it rejects, besides the reason."""

from __future__ import annotations

import json

from scripts.protocol.envelope import plain_text
from scripts.protocol.wire import MAX_TEXT_LENGTH

MAX_CODE_LENGTH = 100


def code_of(code: object) -> str | None:
    """Return a code as it is stored, None for none."""
    if code is None or code == "":
        return None
    return plain_text(str(code), MAX_CODE_LENGTH - 1)


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
