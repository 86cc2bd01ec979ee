"""The plan of an import: what it creates, updates and deletes so that the desired state is reached.

The plan is made of entries alone: of those that the document asks for and of those of the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.configuration.completion import completed_queue
from flows.configuration.current import EntriesByKind
from flows.configuration.desired import DesiredState
from flows.configuration.entry import SECTIONS
from flows.configuration.rows import same
from flows.configuration.schedules import with_pause
from flows.models import Queue


@dataclass(frozen=True, slots=True)
class Actions:
    """What an import does to the rows of one kind: values by name, and the names to delete."""

    create: dict[str, dict[str, Any]]
    update: dict[str, dict[str, Any]]
    delete: set[str]

    @property
    def save(self) -> dict[str, dict[str, Any]]:
        return self.create | self.update


# By kind.
ImportPlan = dict[str, Actions]


def plan_import(desired: DesiredState, current: EntriesByKind, prune: bool) -> ImportPlan:
    """Return the plan. With `prune` it deletes what the sections of the document do not name."""
    values = {
        "library": _values(desired, "library"),
        "script": _values(desired, "script"),
        "queue": _queues(desired, current["queue"]),
        "flow": _flows(desired, current["flow"]),
        **{kind: _values(desired, kind) for kind in ("role", "alert target", "alert thresholds")},
    }
    return {
        kind: Actions(
            create={
                name: entry for name, entry in values[kind].items() if name not in current[kind]
            },
            update={
                name: entry
                for name, entry in values[kind].items()
                if name in current[kind] and not same(current[kind][name], entry)
            },
            delete=_unnamed(desired, kind, current) - values[kind].keys() if prune else set(),
        )
        for kind in SECTIONS
    }


def _values(desired: DesiredState, kind: str) -> dict[str, dict[str, Any]]:
    return {name: entry.values for name, entry in desired.entries(kind).items()}


def _queues(desired: DesiredState, current: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the queues of the document, and those that the steps of original flows read.

    A queue of the document without `paused` stays as it is.
    """
    read_by_originals = {
        step.values["queue"]
        for flow in desired.flows.values()
        for step in flow.steps
        if step.makes_queue
    }
    made = {
        name: current.get(name) or completed_queue({"name": name})
        for name in sorted(read_by_originals)
    }
    return {
        name: {"paused": current.get(name, {}).get("paused", Queue().paused)} | values
        for name, values in (made | _values(desired, "queue")).items()
    }


def _flows(desired: DesiredState, current: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the flows of the document. A schedule of it without `active` stays as it is."""
    return {
        name: values | _schedules(values, current.get(name, {}))
        for name, values in _values(desired, "flow").items()
    }


def _schedules(flow: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    paused = {each["name"] for each in stored.get("schedules", []) if not each.get("active", True)}
    found = [with_pause(each, each["name"] in paused) for each in flow.get("schedules", [])]
    return {"schedules": found} if found else {}


def _unnamed(desired: DesiredState, kind: str, current: EntriesByKind) -> set[str]:
    """Return the names that the document's section does not have, none if there is no section."""
    section = SECTIONS[kind]
    if section not in desired.sections:
        return set()
    return current[kind].keys() - desired.named[section]
