"""What is different between two versions of a script, ready to be shown."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

SAME, GONE, NEW, GAP = "same", "gone", "new", "gap"
_CONTEXT_LINES = 3
# Shown as texts of several lines; all other fields as one value each.
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
    title: str
    lines: list[Line]

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
        """Say it in a few words: how many lines of code came and went, then what else changed."""
        code = [text for text in self.texts if text.title == "Code"]
        titles = [text.title for text in self.texts if text.title != "Code"]
        titles += [value.title for value in self.values]
        counts = [f"+{text.added} \N{MINUS SIGN}{text.removed}" for text in code]
        return ", ".join(counts + [title[0].lower() + title[1:] for title in titles])


def diff(before: dict[str, Any], after: dict[str, Any]) -> Diff:
    """Compare the contents of two versions, as ``ScriptVersion.content`` gives them."""
    found = Diff()
    for title, old, new in _texts(before, after):
        if old != new:
            found.texts.append(TextDiff(title, list(_lines(old, new))))
    for name in after:
        if name not in {"code", "libraries", *_SCHEMAS} and before[name] != after[name]:
            title = name.replace("_", " ").capitalize().replace(" mb", " (MB)")
            found.values.append(ValueDiff(title, _value(before[name]), _value(after[name])))
    return found


def _texts(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "Code", before["code"], after["code"]
    old = {library["name"]: library["code"] for library in before["libraries"]}
    new = {library["name"]: library["code"] for library in after["libraries"]}
    for name in dict.fromkeys([*old, *new]):
        yield f"Library {name}", old.get(name, ""), new.get(name, "")
    for name, title in _SCHEMAS.items():
        yield title, _schema_text(before[name]), _schema_text(after[name])


def _lines(before: str, after: str) -> Iterator[Line]:
    old, new = before.splitlines(), after.splitlines()
    groups = difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(_CONTEXT_LINES)
    for index, group in enumerate(groups):
        if index:
            yield Line(GAP, None, None, "")
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                for offset, text in enumerate(old[old_from:old_to]):
                    yield Line(SAME, old_from + offset + 1, new_from + offset + 1, text)
                continue
            for number in range(old_from, old_to):
                yield Line(GONE, number + 1, None, old[number])
            for number in range(new_from, new_to):
                yield Line(NEW, None, number + 1, new[number])


def _schema_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) if schema else ""


def _value(value: Any) -> str:
    if value is None or value == []:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
