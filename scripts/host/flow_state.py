"""`context.state`: what the messages of a flow leave for each other, as a script sees it.

A script reads what is there, and its own changes. These are kept here; they go to the worker with
the outcome of the call and are stored with it, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from scripts.protocol.envelope import decode, encode
from scripts.protocol.errors import INVALID, OutputInvalid, WrongArgument
from scripts.protocol.flow_state import (
    ADD,
    DELETE,
    MAX_VALUE_BYTES,
    READ,
    SET,
    Change,
    StateInvalid,
    WrongChange,
    added,
    checked_key,
    checked_number,
    checked_seconds,
    checked_value,
    require_bounded,
)
from scripts.protocol.numerals import Numerals

Seconds = float | timedelta | None


class State:
    """The state of the flow. Values are any JSON of up to 64 kB, by keys of up to 200 characters.

    Raises ValueError for what it cannot keep, and RuntimeError where it cannot be read now.
    """

    def __init__(
        self, send: Callable[[dict[str, Any]], dict[str, Any]], numerals: Numerals
    ) -> None:
        self._send = send
        self._numerals = numerals
        # What was read: the JSON text, None for none, and its version.
        self._found: dict[str, tuple[str | None, int]] = {}
        self._changes: dict[str, Change] = {}
        # What was read of a step that is not stored yet, and has to be there in the end.
        self._pending: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value, a copy, or the default where there is none or it has expired."""
        text = self._text(checked_key(key))
        return default if text is None else decode(text.encode(), self._numerals)

    def set(self, key: str, value: Any, expires: Seconds = None) -> None:
        """Keep the value, for `expires` seconds or until it is deleted."""
        try:
            text = encode(value, self._numerals, MAX_VALUE_BYTES).decode()
        except OutputInvalid as error:
            raise WrongChange(f"The value of the state: {error}") from None
        self._set(key, text, expires)

    def increment(self, key: str, by: float | Decimal = 1, expires: Seconds = None) -> None:
        """Add to a number, from 0 on where there is none.

        What others add at the same time is added, too. `expires` counts where the key is new.
        """
        if isinstance(by, bool) or not isinstance(by, int | float | Decimal):
            raise WrongChange("increment() adds a number: an int, a float or a Decimal.")
        try:
            text = encode(by, self._numerals, takes_decimals=True).decode()
        except OutputInvalid:
            raise WrongChange("increment() adds a finite number.") from None
        self._add(key, text, expires)

    def delete(self, key: str) -> None:
        """Delete the value, if there is one."""
        self._change(Change(checked_key(key), DELETE))

    def _set(self, key: object, text: object, expires: object) -> None:
        self._change(Change(checked_key(key), SET, checked_value(text), _seconds(expires)))

    def _add(self, key: object, by: object, expires: object) -> None:
        key, by, seconds = checked_key(key), checked_number(by), _seconds(expires)
        before = self._changes.get(key)
        if before is None:
            if (found := self._found.get(key)) and found[0] is not None:
                # Found out now rather than when it is stored.
                added(found[0], by, key)
            self._change(Change(key, ADD, by, seconds))
        elif before.what == DELETE:
            self._change(Change(key, SET, by, seconds))
        else:
            self._change(replace(before, text=added(before.text, by, key)))

    def _change(self, change: Change) -> None:
        """Keep a change in place of an earlier one of its key."""
        if change.what != ADD and change.key in self._found:
            change = replace(change, seen=self._found[change.key][1])
        changes = self._changes | {change.key: change}
        require_bounded(changes.values())
        self._changes = changes

    def _text(self, key: str) -> str | None:
        change = self._changes.get(key)
        if change and change.what != ADD:
            return change.text if change.what == SET else None
        if key not in self._found:
            reply = self._send({"key": key})
            if "error" in reply:
                raise RuntimeError(reply["error"])
            self._found[key] = reply.get("text"), reply["version"]
            if reply.get("pending"):
                self._pending.add(key)
        text = self._found[key][0]
        return text if change is None else added("0" if text is None else text, change.text, key)

    def _all_changes(self) -> list[Change]:
        """Return what is to be stored with the outcome of the call."""
        reads = [
            Change(key, READ, seen=self._found[key][1])
            for key in self._pending
            if key not in self._changes
        ]
        return [*self._changes.values(), *reads]

    def _serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a script asks for that is no Python."""
        what, key = request["what"], request.get("key")
        try:
            if what == "get":
                text = self._text(checked_key(key))
                return {} if text is None else {"text": text}
            if what == SET:
                self._set(key, request.get("text"), request.get("expires"))
            elif what == "increment":
                self._add(key, request.get("by"), request.get("expires"))
            else:
                self.delete(key)  # type: ignore[arg-type]
        except (StateInvalid, RuntimeError) as error:
            is_wrong = isinstance(error, WrongArgument)
            return {"error": str(error), "kind": INVALID if is_wrong else "unavailable"}
        return {}


def _seconds(expires: object) -> float | None:
    return checked_seconds(expires.total_seconds() if isinstance(expires, timedelta) else expires)
