"""The differences between two versions of a script, ready to be shown."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any

# The most lines of a text that are shown, and the most characters of each.
MAX_LINES = 2_000
_MAX_LINE_LENGTH = 1_000
# The most pairs of equal lines in one step of a comparison.
_MAX_PAIRS = 1_000_000

SAME, GONE, NEW, GAP = "same", "gone", "new", "gap"
_CONTEXT_LINES = 3
# Shown as texts of several lines; other fields are shown as one value each.
_SCHEMAS = {"input_schema": "Input schema", "output_schema": "Output schema"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a unified diff: its kind, its numbers before and after, and its text."""

    kind: str
    before: int | None
    after: int | None
    text: str


@dataclass(frozen=True, slots=True)
class TextDiff:
    """The differences in a text. Without lines, where the comparison took too long.

    `is_cut`: there are more lines than shown.
    """

    title: str
    lines: list[Line]
    is_too_different: bool = False
    is_cut: bool = False

    @property
    def added(self) -> int:
        return sum(line.kind == NEW for line in self.lines)

    @property
    def removed(self) -> int:
        return sum(line.kind == GONE for line in self.lines)


@dataclass(frozen=True, slots=True)
class ValueDiff:
    title: str
    before: str
    after: str


@dataclass(slots=True)
class Diff:
    texts: list[TextDiff] = field(default_factory=list)
    values: list[ValueDiff] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.texts or self.values)

    def __str__(self) -> str:
        """Return a summary: added and removed lines of code, then the other changed fields."""
        code = [text for text in self.texts if text.title == "Code"]
        titles = [text.title for text in self.texts if text.title != "Code"]
        titles += [value.title for value in self.values]
        counts = [_counts(text) for text in code]
        return ", ".join(counts + [title[0].lower() + title[1:] for title in titles])


class TimeLeft:
    """How long comparisons may take together, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._until


def diff(before: dict[str, Any], after: dict[str, Any], time_left: TimeLeft | None = None) -> Diff:
    """Compare the contents of two versions, as `ScriptVersion.content` gives them.

    Texts that differ in too many places are shown without lines. `time_left` limits several
    comparisons together; without it one takes 1 s at most.
    """
    found = Diff()
    time_left = time_left or TimeLeft(1.0)
    for title, old, new in _texts(before, after):
        if old != new:
            found.texts.append(_text_diff(title, old, new, time_left))
    for name in after:
        if name not in {"code", "libraries", *_SCHEMAS} and before[name] != after[name]:
            title = name.replace("_", " ").capitalize().replace(" mb", " (MB)")
            found.values.append(ValueDiff(title, _value(before[name]), _value(after[name])))
    return found


def diff_of_fields(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    titles: Mapping[str, str] | None = None,
    time_left: TimeLeft | None = None,
) -> Diff:
    """Compare fields by name. A field that one side does not have counts as empty there.

    Texts of several lines and JSON are compared line by line, lists by their items, other values
    as a whole. `titles` has the names that a reader knows the fields by.
    """
    found = Diff()
    time_left = time_left or TimeLeft(1.0)
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new and name in before and name in after:
            continue
        title = (titles or {}).get(name) or name.replace("_", " ").capitalize()
        if isinstance(old, list) and isinstance(new, list):
            gone = [each for each in old if each not in new]
            added = [each for each in new if each not in old]
            if gone or added:
                old, new = gone, added
            found.values.append(ValueDiff(title, _value(old), _value(new)))
        elif _has_lines(old) or _has_lines(new):
            found.texts.append(_text_diff(title, _as_text(old), _as_text(new), time_left))
        else:
            found.values.append(ValueDiff(title, _value(old), _value(new)))
    return found


def _has_lines(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and "\n" in value)


def _as_text(value: Any) -> str:
    if value is None or value == {}:
        return ""
    return value if isinstance(value, str) else _schema_text(value)


def _texts(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "Code", before["code"], after["code"]
    old = {library["name"]: library["code"] for library in before["libraries"]}
    new = {library["name"]: library["code"] for library in after["libraries"]}
    for name in dict.fromkeys([*old, *new]):
        yield f"Library {name}", old.get(name, ""), new.get(name, "")
    for name, title in _SCHEMAS.items():
        yield title, _schema_text(before[name]), _schema_text(after[name])


def _text_diff(title: str, before: str, after: str, time_left: TimeLeft) -> TextDiff:
    try:
        lines = list(islice(_lines(before, after, time_left), MAX_LINES + 1))
    except _TooDifferent:
        return TextDiff(title, [], is_too_different=True)
    return TextDiff(title, lines[:MAX_LINES], is_cut=len(lines) > MAX_LINES)


class _TooDifferent(Exception):
    """The comparison takes too long."""


class _Matcher(difflib.SequenceMatcher[str]):
    """Compares lines, within a time."""

    time_left: TimeLeft

    def find_longest_match(
        self, alo: int = 0, ahi: Any = None, blo: int = 0, bhi: Any = None
    ) -> Any:
        if self.time_left.is_over:
            raise _TooDifferent
        return super().find_longest_match(alo, ahi, blo, bhi)


def _matcher(old: list[str], new: list[str], time_left: TimeLeft) -> _Matcher:
    matcher = _Matcher(None, old, new)
    matcher.time_left = time_left
    places: Any = matcher.b2j  # type: ignore[attr-defined]
    pairs = sum(len(places.get(line, ())) for line in old)
    if pairs > _MAX_PAIRS:
        raise _TooDifferent
    return matcher


def _lines(before: str, after: str, time_left: TimeLeft) -> Iterator[Line]:
    old, new = before.splitlines(), after.splitlines()
    groups = _matcher(old, new, time_left).get_grouped_opcodes(_CONTEXT_LINES)
    for index, group in enumerate(groups):
        if index:
            yield Line(GAP, None, None, "")
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                for offset, text in enumerate(old[old_from:old_to]):
                    yield Line(SAME, old_from + offset + 1, new_from + offset + 1, _shown(text))
                continue
            for number in range(old_from, old_to):
                yield Line(GONE, number + 1, None, _shown(old[number]))
            for number in range(new_from, new_to):
                yield Line(NEW, None, number + 1, _shown(new[number]))


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_LINE_LENGTH else f"{text[:_MAX_LINE_LENGTH]}…"


def _counts(text: TextDiff) -> str:
    if text.is_too_different:
        return "code"
    more = " and more" if text.is_cut else ""
    return f"+{text.added} \N{MINUS SIGN}{text.removed}{more}"


def _schema_text(schema: Any) -> str:
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) if schema else ""


def _value(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
