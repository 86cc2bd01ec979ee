"""The current state: the configuration that the database has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import QuerySet

from flows.configuration.alerts import (
    INSTALLATION,
    own_thresholds,
    target_entry,
    thresholds_entry,
)
from flows.configuration.completion import completed_role
from flows.configuration.rows import (
    flow_entry,
    library_entry,
    queue_entry,
    script_entry,
)
from flows.configuration.schedules import schedule_entries
from flows.configuration.tables import table_entries
from flows.models import (
    AlertTarget,
    AlertThresholds,
    ConfigurationRevision,
    Flow,
    Queue,
    Step,
)
from scripts.models import ConfigurationValue, Library, Script

# Other transactions may change the configuration while it is read.
ATTEMPTS = 5
# Entries by kind and name.
EntriesByKind = dict[str, dict[str, dict[str, Any]]]


def export_configuration() -> dict[str, Any]:
    """Return the whole configuration as one document, sorted by name, steps in their order.

    The roles are the groups with a right to a flow. Of the values of the installation it has the
    names, of tables what identifies their files, of alert targets the names of the secrets with
    their addresses. `paused` is left out where a queue is not paused, so that an import elsewhere
    does not resume a queue there.
    """
    entries = CurrentState.load().entries()
    for queue in entries["queue"].values():
        if not queue["paused"]:
            del queue["paused"]
    document = {
        "libraries": list(entries["library"].values()),
        "scripts": list(entries["script"].values()),
        "queues": list(entries["queue"].values()),
        "flows": list(entries["flow"].values()),
        "rbac": {role: rights for role, rights in entries["role"].items() if any(rights.values())},
    }
    # What they are is each installation's own.
    names = sorted(ConfigurationValue.objects.values_list("name", flat=True))
    others = {
        "tables": list(table_entries().values()),
        "config": names,
        "alertTargets": list(entries["alert target"].values()),
        "alertThresholds": entries["alert thresholds"][INSTALLATION],
    }
    return document | {key: found for key, found in others.items() if found}


def export_flows(names: Collection[str]) -> dict[str, Any]:
    """Return a document with these flows, and the queues, scripts and libraries that they use.

    It has no roles: an import replaces all rights of a role that it names.
    """
    whole = export_configuration()
    flows = [flow for flow in whole["flows"] if flow["name"] in names]
    steps = [step for flow in flows for step in flow["steps"]]
    scripts = _named(whole["scripts"], {step["script"] for step in steps})
    tables = _named(
        whole.get("tables", []), {n for each in scripts for n in each.get("tables", ())}
    )
    return {
        "libraries": _named(whole["libraries"], {n for each in scripts for n in each["libraries"]}),
        "scripts": scripts,
        "queues": _named(whole["queues"], {step["queue"] for step in steps}),
        "flows": flows,
    } | ({"tables": tables} if tables else {})


def _named(entries: list[dict[str, Any]], names: Collection[str]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["name"] in names]


@dataclass(frozen=True, slots=True)
class CurrentState:
    """The rows by kind and name, and the steps by the name of their flow."""

    rows: dict[str, dict[str, Any]]
    steps: dict[str, list[Step]]
    # By the ids of flow and queue.
    thresholds: dict[tuple[int | None, int | None], AlertThresholds]

    @classmethod
    def load(cls) -> CurrentState:
        """Read all tables as one state; again, where another transaction has changed some since."""
        for _ in range(ATTEMPTS):
            revision = ConfigurationRevision.current()
            found = cls.read()
            if ConfigurationRevision.current() == revision:
                break
        return found

    @classmethod
    def read(cls) -> CurrentState:
        """Read all tables, which are one state where the configuration is locked."""
        rows: dict[str, QuerySet[Any]] = {
            "library": Library.objects.all(),
            "script": Script.objects.prefetch_related("library_uses"),
            "queue": Queue.objects.all(),
            "flow": Flow.objects.prefetch_related("schedules"),
            "role": Group.objects.prefetch_related("role_mappings__flow"),
            "alert target": AlertTarget.objects.all(),
        }
        by_name = {kind: {row.name: row for row in rows[kind]} for kind in rows}
        thresholds = {
            (row.flow_id, row.queue_id): row for row in AlertThresholds.objects.order_by()
        }
        of_all = thresholds.get((None, None), AlertThresholds())
        by_name["alert thresholds"] = {INSTALLATION: of_all}
        steps: defaultdict[str, list[Step]] = defaultdict(list)
        for step in Step.objects.select_related("flow", "script", "queue"):
            steps[step.flow.name].append(step)
        return cls(by_name, steps, thresholds)

    def entries(self) -> EntriesByKind:
        """Return the entries sorted by name, since databases sort differently."""
        entry_of: dict[str, Callable[[Any], dict[str, Any]]] = {
            "library": library_entry,
            "script": script_entry,
            "queue": self._queue_entry,
            "flow": self._flow_entry,
            "role": role_entry,
            "alert target": target_entry,
            "alert thresholds": thresholds_entry,
        }
        return {
            kind: {name: entry_of[kind](row) for name, row in sorted(rows.items())}
            for kind, rows in self.rows.items()
        }

    def _queue_entry(self, queue: Queue) -> dict[str, Any]:
        return queue_entry(queue) | own_thresholds(self.thresholds.get((None, queue.pk)))

    def _flow_entry(self, flow: Flow) -> dict[str, Any]:
        schedules = schedule_entries(flow)
        entry = flow_entry(flow, self.steps[flow.name])
        entry |= {"schedules": schedules} if schedules else {}
        return entry | own_thresholds(self.thresholds.get((flow.pk, None)))


def role_entry(role: Group) -> dict[str, Any]:
    rights: dict[str, list[str]] = {}
    for mapping in role.role_mappings.all():
        rights.setdefault(mapping.right, []).append(mapping.flow.name if mapping.flow else "*")
    return completed_role(rights)
