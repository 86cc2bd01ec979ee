"""What a script may say about a message that it rejects, besides the reason."""

from __future__ import annotations

import json
import reprlib
from typing import Any

from scripts.protocol.envelope import encode, plain_text, require_small
from scripts.protocol.errors import OutputInvalid, ScriptError, ScriptRejected
from scripts.protocol.numerals import Numerals
from scripts.protocol.wire import MAX_REQUEST_BYTES, MAX_TEXT_LENGTH

MAX_CODE_LENGTH = 100


def rejected(
    reason: str, code: object, details: Any, numerals: Numerals | None = None
) -> ScriptError:
    """Return what a `Reject` means; what cannot be kept of it is a fault of the script."""
    try:
        kept = {"code": code_of(code), "details": details_of(details, numerals)}
    except OutputInvalid as fault:
        return fault
    return ScriptRejected(reason=reason, **kept)


def code_of(code: object) -> str | None:
    """Return a code as it is stored, None for none. Raises OutputInvalid where it is too long."""
    if code is None or code == "":
        return None
    text = str(code)
    if len(text) >= MAX_CODE_LENGTH:
        most = f"at most {MAX_CODE_LENGTH - 1} are allowed"
        raise OutputInvalid(f"The code of Reject has {len(text)} characters; {most}.", place="$")
    return plain_text(text, MAX_CODE_LENGTH - 1)


def details_of(details: Any, numerals: Numerals | None) -> str | None:
    """Return the details of a rejection as JSON text, cut where they are too long.

    Raises OutputInvalid with the place of what JSON cannot hold. A Decimal is a number.
    """
    if details is None:
        return None
    try:
        require_small(details, MAX_REQUEST_BYTES)
    except OutputInvalid:
        beginning = plain_text(reprlib.repr(details), MAX_TEXT_LENGTH // 8)
        return json.dumps({"tooLong": MAX_REQUEST_BYTES, "beginning": beginning})
    try:
        return bounded(encode(details, numerals, takes_decimals=True).decode())
    except OutputInvalid as error:
        raise OutputInvalid(f"The details of Reject: {error}", place=error.place) from None


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
