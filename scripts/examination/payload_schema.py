"""Checks the payloads of starts against a schema, in a bounded time.

Cheap checks run here: a plain schema takes at most its parts times those of the value. Other checks
run in a sandboxed process with a time limit, and each schema gets only a share of its time.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import jsonschema_rs

from scripts.examination.examiner import ExaminerBusy, TooMuchToExamine, examiner
from scripts.protocol.envelope import plain_text
from scripts.protocol.numerals import dumps
from scripts.protocol.schema import (
    SchemaInvalid,
    compile_plain,
    faults_of,
    matches,
    require_bounded,
)
from scripts.protocol.schema_size import SchemaSize

# Limits for parts of the schema times parts of the value: to check, and to explain a mismatch.
_CHEAP_TO_CHECK = 1_000_000
_CHEAP_TO_EXPLAIN = 2_000
_QUICK_TO_CHECK = 20_000
# A larger schema is compiled in the other process.
_CHEAP_TO_COMPILE = 5_000
# A text counts as one more part for each of this number of characters.
_TEXT_PART = 32
# One schema gets this share of the other process's time, after the first seconds.
_SHARE = 0.3
_SPARE_SECONDS = 5.0


class PayloadSchema:
    """A schema that the payloads of starts are checked against."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises SchemaInvalid, or `faults` does."""
        self._text = json.dumps(schema)
        self._size = SchemaSize.of(self._text)
        require_bounded(self._size)
        self._validator = self._plain_validator()
        self._lock = threading.Lock()
        self._spent, self._spent_at = 0.0, time.monotonic()

    def faults(self, value: Any) -> list[dict[str, str]]:
        """Return where the value does not match.

        Raises ExaminerBusy where it is not known whether it matches: try again later.
        """
        try:
            return self._faults(value)
        except RecursionError:
            return [{"path": "$", "detail": "It is nested too deep to be checked."}]

    def is_quick_for(self, value: Any) -> bool:
        """Tell whether checking the value takes but an instant."""
        most = _QUICK_TO_CHECK // self._size.expansion
        return self._validator is not None and parts_of(value, most) <= most

    def _faults(self, value: Any) -> list[dict[str, str]]:
        if self._validator is None:
            return self._examined(value)
        parts = parts_of(value, _CHEAP_TO_CHECK // self._size.expansion)
        if parts * self._size.expansion > _CHEAP_TO_CHECK:
            return self._examined(value)
        if matches(self._validator, value):
            return []
        if parts * self._size.expansion > _CHEAP_TO_EXPLAIN:
            return self._explained(dumps(value).decode())
        return faults_of(self._validator, value)

    def _plain_validator(self) -> jsonschema_rs.Validator | None:
        if not self._size.is_plain or self._size.expansion > _CHEAP_TO_COMPILE:
            return None
        try:
            return compile_plain(self._text)
        except SchemaInvalid:
            # It may have patterns that look back or ahead.
            return None

    def _examined(self, value: Any) -> list[dict[str, str]]:
        """Have the other process check the value, and explain a mismatch."""
        text = dumps(value).decode()
        try:
            if self._ask("matches", text):
                return []
        except TooMuchToExamine as error:
            return [{"path": "$", "detail": f"It could not be checked. {error}"}]
        return self._explained(text)

    def _explained(self, text: str) -> list[dict[str, str]]:
        """Return where a value that is known not to match does not."""
        try:
            return list(self._ask("faults", text))
        except (TooMuchToExamine, ExaminerBusy) as error:
            detail = f"It does not match, and where cannot be said. {error}"
            return [{"path": "$", "detail": detail}]

    def _ask(self, what: str, text: str) -> Any:
        """Return the findings. Raises ExaminerBusy, also where the schema has used its share."""
        begun_at = time.monotonic()
        with self._lock:
            self._spent = max(0.0, self._spent - (begun_at - self._spent_at) * _SHARE)
            self._spent_at = begun_at
            if self._spent > _SPARE_SECONDS:
                raise ExaminerBusy
        try:
            found = examiner.examine(what, self._text, text)
        finally:
            with self._lock:
                self._spent += time.monotonic() - begun_at
        if "invalid" in found:
            raise SchemaInvalid(plain_text(found["invalid"], 1000))
        return found["found"]


def parts_of(value: Any, most: int) -> int:
    """Count the parts of a value, up to a number: members, items and pieces of text."""
    todo, seen = [value], 0
    while todo and seen <= most:
        part = todo.pop()
        seen += 1
        if isinstance(part, str):
            seen += len(part) // _TEXT_PART
        elif isinstance(part, dict):
            seen += len(part)
            todo += part.values() if seen <= most else ()
        elif isinstance(part, list):
            seen += len(part)
            todo += part if seen <= most else ()
    return seen
