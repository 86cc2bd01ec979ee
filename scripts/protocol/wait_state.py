"""The state that a waiting script leaves for its next attempt: any JSON value, bounded."""

from __future__ import annotations

from typing import Any

from scripts.protocol.envelope import decode, encode
from scripts.protocol.errors import OutputInvalid, ScriptError, ScriptWait
from scripts.protocol.json_text import MAX_DEPTH, is_deeper_than
from scripts.protocol.numerals import Numerals

MAX_STATE_BYTES = 64 * 1024


def waiting(
    after: float | None, reason: str, state: Any, numerals: Numerals | None = None
) -> ScriptError:
    """Return what a `Wait` means; a state that cannot be stored is a fault of the script."""
    try:
        return ScriptWait(after=after, reason=reason, state=state_text(state, numerals))
    except OutputInvalid as fault:
        return fault


def state_text(state: Any, numerals: Numerals | None = None) -> str:
    """Return it as JSON text, "" for None. Raises OutputInvalid for what JSON cannot hold."""
    if state is None:
        return ""
    try:
        text = encode(state, numerals, MAX_STATE_BYTES)
    except OutputInvalid as error:
        raise OutputInvalid(f"The state of Wait: {error}", place=error.place) from None
    if fault := fault_of_state(text):
        raise OutputInvalid(fault, place="$")
    return text.decode()


def fault_of_state(text: bytes) -> str:
    """Return why a JSON text cannot be a state; "" where it can."""
    if len(text) > MAX_STATE_BYTES:
        return f"The state of Wait has {len(text)} bytes; at most {MAX_STATE_BYTES} are allowed."
    if is_deeper_than(text, MAX_DEPTH):
        return f"The state of Wait is nested more than {MAX_DEPTH} deep."
    try:
        return "" if decode(text) is not None else "The state of Wait is null."
    except ValueError:
        return "The state of Wait holds a number that cannot be read again."


def is_state(text: bytes) -> bool:
    """Say whether a host may have sent this: it need not keep to the rules."""
    return not text or not fault_of_state(text)
