"""The state of a flow, as scripts read and change it and as their changes travel.

A script's changes go with the outcome of its call, at most one a key, and are stored with it:

    set      a JSON text, and for how many seconds it counts
    add      a number, to whatever is there then
    delete
    read     nothing changes, but what was read has to be there still

`seen` is the version that the script has read: 0 where there was no value, None where it has not
read the key.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from decimal import Context, Decimal
from typing import Any

from scripts.protocol.envelope import decode
from scripts.protocol.errors import WrongArgument
from scripts.protocol.json_text import MAX_DEPTH, is_deeper_than

SET, ADD, DELETE, READ = "set", "add", "delete", "read"

MAX_KEY_LENGTH = 200
MAX_VALUE_BYTES = 64 * 1024
# Of one message.
MAX_CHANGES = 100
MAX_CHANGED_BYTES = 1024 * 1024
# Ten years.
LONGEST_SECONDS = 315_576_000.0
MAX_NUMBER_LENGTH = 100
MAX_VERSION = 2**62

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,2})?")
# No sum of numbers that are so long is rounded.
_EXACT = Context(prec=500)


class StateInvalid(ValueError):
    """A key, a value, a number or a time that the state of a flow cannot have."""


class WrongChange(StateInvalid, WrongArgument):
    """The same, whatever the state has now."""


@dataclass(frozen=True, slots=True)
class Change:
    key: str
    what: str
    text: str = ""
    expires: float | None = None
    seen: int | None = None


@dataclass(frozen=True, slots=True)
class StateChanges:
    """What a call changes, and the version that the keys have then; no other call has the same."""

    changes: tuple[Change, ...]
    version: int


def checked_key(key: object) -> str:
    """Raises StateInvalid."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH:
        raise WrongChange(f"A key of the state is a text of 1 to {MAX_KEY_LENGTH} characters.")
    if "\0" in key or any("\ud800" <= character <= "\udfff" for character in key):
        raise WrongChange("A key of the state holds NUL or half a character.")
    return key


def checked_value(text: object) -> str:
    """Return a JSON text. Raises StateInvalid."""
    if not isinstance(text, str):
        raise WrongChange("A value of the state comes as JSON text.")
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > MAX_VALUE_BYTES:
        raise WrongChange(
            f"The value has {len(content)} bytes as JSON; at most {MAX_VALUE_BYTES} are allowed."
        )
    if is_deeper_than(content, MAX_DEPTH):
        raise WrongChange(f"The value is nested more than {MAX_DEPTH} deep.")
    try:
        content.decode()
        decode(content)
    except ValueError:
        raise WrongChange("The value is no JSON that can be read again.") from None
    return text


def checked_number(text: object) -> str:
    """Return a number as JSON text. Raises StateInvalid."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text) or len(text) > MAX_NUMBER_LENGTH:
        raise WrongChange(f"increment() adds a number of at most {MAX_NUMBER_LENGTH} characters.")
    return text


def checked_seconds(seconds: object) -> float | None:
    """Raises StateInvalid."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise WrongChange("expires is a number of seconds.")
    if not 0 < seconds <= LONGEST_SECONDS:
        raise WrongChange(f"expires is more than 0 and at most {LONGEST_SECONDS:.0f} seconds.")
    return float(seconds)


def added(text: str, by: str, key: str) -> str:
    """Return the exact sum of two numbers. Raises StateInvalid where one is none."""
    if not _NUMBER.fullmatch(text) or len(text) > MAX_NUMBER_LENGTH:
        raise StateInvalid(f"The value of {key!r} is no number that increment() could add to.")
    total = str(_EXACT.add(Decimal(text), Decimal(by)))
    if "." in total and "E" not in total:
        total = total.rstrip("0").rstrip(".")
    if len(total) > MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(total):
        raise StateInvalid(
            f"The number of {key!r} would have more than {MAX_NUMBER_LENGTH} characters."
        )
    return total


def as_rows(changes: Iterable[Change]) -> list[tuple[Any, ...]]:
    """Return changes as they travel from a host."""
    return [astuple(change) for change in changes]


def from_rows(rows: Any) -> tuple[Change, ...]:
    """Read changes that came from a host, which need not keep to the rules. Raises ValueError."""
    if not isinstance(rows, list) or len(rows) > 2 * MAX_CHANGES:
        raise StateInvalid("Too many changes.")
    changes = tuple(_change(*row) for row in rows)
    require_bounded(changes)
    if len({change.key for change in changes}) < len(changes):
        raise StateInvalid("Two changes of one key.")
    return changes


def versioned(changes: Sequence[Change]) -> StateChanges | None:
    """Return the changes of a call with a version of their own; None where there are none."""
    if not changes:
        return None
    return StateChanges(tuple(changes), new_version())


def new_version() -> int:
    """Return one that no other process gives: it is random."""
    return secrets.randbelow(MAX_VERSION) + 1


def require_bounded(changes: Iterable[Change]) -> None:
    """Raises StateInvalid where one message changes too much."""
    writing = [change for change in changes if change.what != READ]
    if len(writing) > MAX_CHANGES:
        raise WrongChange(f"A message may change {MAX_CHANGES} keys of the state.")
    if sum(len(change.text) for change in writing) > MAX_CHANGED_BYTES:
        raise WrongChange(f"A message may change {MAX_CHANGED_BYTES} bytes of the state.")


def _change(key: object, what: object, text: object, expires: object, seen: object) -> Change:
    if what == SET:
        text = checked_value(text)
    elif what == ADD:
        text = checked_number(text)
    elif what in (DELETE, READ):
        text, expires = "", None
    else:
        raise StateInvalid("No such change.")
    if seen is not None and (type(seen) is not int or not 0 <= seen <= MAX_VERSION):
        raise StateInvalid("No such version.")
    return Change(checked_key(key), str(what), str(text), checked_seconds(expires), seen)
