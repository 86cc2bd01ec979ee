"""The changes of an import as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flows.configuration.current import EntriesByKind
from flows.configuration.faults import quoted
from flows.configuration.rows import same

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that is added, changed or removed, with the fields that change.

    `old` and `new` are the whole entry before and after, None where there is none.
    """

    action: str
    kind: str
    name: str
    fields: tuple[str, ...] = ()
    old: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    new: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        text = f"{self.action} {self.kind} {quoted(self.name)}"
        return f"{text}: {'; '.join(self.fields)}" if self.fields else text


@dataclass(frozen=True, slots=True)
class Changes:
    """What an import changed, or would change. False if nothing.

    `warnings` are faults that an import accepts, each with its place.
    """

    items: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.items)

    def __str__(self) -> str:
        if not self.items:
            return "Nothing to change."
        counts = ", ".join(
            f"{len(self.of(action))} {action}" for action in ("added", "changed", "removed")
        )
        return "\n".join([*map(str, self.items), f"{counts}."])

    def of(self, action: str) -> list[Change]:
        return [change for change in self.items if change.action == action]


def compare(before: EntriesByKind, after: EntriesByKind) -> Changes:
    return Changes(
        [
            change
            for kind in after
            for name in sorted({*before[kind], *after[kind]})
            if (change := _change(kind, name, before[kind].get(name), after[kind].get(name)))
        ]
    )


def _change(
    kind: str, name: str, old: dict[str, Any] | None, new: dict[str, Any] | None
) -> Change | None:
    if old is None:
        return Change("added", kind, name, new=new)
    if new is None:
        return Change("removed", kind, name, old=old)
    fields = tuple(_fields("", old, new))
    return Change("changed", kind, name, fields, old, new) if fields else None


def _fields(prefix: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in {**old, **new}:
        # Rarely used keys are missing where they are not set.
        before, after = old.get(key), new.get(key)
        if same(before, after):
            continue
        if key in ("backoff", "alertThresholds"):
            yield from _fields(f"{key}.", before or {}, after or {})
        elif key == "steps":
            yield from _named("step", old[key], new[key])
        elif key == "schedules":
            yield from _named("schedule", before or [], after or [])
        else:
            yield _field(prefix + key, before, after)


def _field(key: str, old: Any, new: Any) -> str:
    before, after = (json.dumps(value, ensure_ascii=False) for value in (old, new))
    if key == "code" or max(len(before), len(after)) > _LONGEST_VALUE:
        return f"{key} changed"
    return f"{key} {before} → {after}"


def _named(kind: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    before, after = ({each["name"]: each for each in entries} for entries in (old, new))
    for name in sorted(before.keys() - after.keys()):
        yield f"{kind} {quoted(name)} removed"
    for name, entry in after.items():
        if name not in before:
            yield f"{kind} {quoted(name)} added"
        else:
            yield from _fields(f"{kind} {quoted(name)} ", before[name], entry)
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield f"{kind}s in the order {', '.join(after)}"
