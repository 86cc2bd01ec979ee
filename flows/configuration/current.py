"""The current state: the configuration that the database has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group

from flows.configuration.completion import completed_role
from flows.configuration.rows import (
    flow_entry,
    library_entry,
    queue_entry,
    script_entry,
)
from flows.models import Flow, Queue, Step
from scripts.models import Library, Script

# Entries by kind and name.
EntriesByKind = dict[str, dict[str, dict[str, Any]]]


def export_configuration() -> dict[str, Any]:
    """Return the whole configuration as one document, sorted by name, steps in their order.

    The roles are the groups with a right to a flow. `paused` is left out where a queue is not
    paused, so that an import elsewhere does not resume a queue there.
    """
    entries = CurrentState.load().entries()
    for queue in entries["queue"].values():
        if not queue["paused"]:
            del queue["paused"]
    return {
        "libraries": list(entries["library"].values()),
        "scripts": list(entries["script"].values()),
        "queues": list(entries["queue"].values()),
        "flows": list(entries["flow"].values()),
        "rbac": {role: rights for role, rights in entries["role"].items() if any(rights.values())},
    }


@dataclass(frozen=True, slots=True)
class CurrentState:
    """The rows of each kind by name."""

    libraries: dict[str, Library]
    scripts: dict[str, Script]
    queues: dict[str, Queue]
    flows: dict[str, Flow]
    steps: dict[str, list[Step]]
    roles: dict[str, Group]

    @classmethod
    def load(cls) -> CurrentState:
        flows = {flow.name: flow for flow in Flow.objects.all()}
        steps: dict[str, list[Step]] = {name: [] for name in flows}
        for step in Step.objects.select_related("flow", "script", "queue"):
            steps[step.flow.name].append(step)
        return cls(
            libraries={library.name: library for library in Library.objects.all()},
            scripts={
                script.name: script for script in Script.objects.prefetch_related("library_uses")
            },
            queues={queue.name: queue for queue in Queue.objects.all()},
            flows=flows,
            steps=steps,
            roles={
                role.name: role
                for role in Group.objects.prefetch_related("role_mappings__flow").all()
            },
        )

    def rows(self, kind: str) -> dict[str, Any]:
        by_kind: dict[str, dict[str, Any]] = {
            "library": self.libraries,
            "script": self.scripts,
            "queue": self.queues,
            "flow": self.flows,
            "role": self.roles,
        }
        return by_kind[kind]

    def entries(self) -> EntriesByKind:
        """Return the entries sorted by name, since databases sort differently."""
        kinds: EntriesByKind = {
            "library": {name: library_entry(each) for name, each in self.libraries.items()},
            "script": {name: script_entry(script) for name, script in self.scripts.items()},
            "queue": {name: queue_entry(queue) for name, queue in self.queues.items()},
            "flow": {name: flow_entry(flow, self.steps[name]) for name, flow in self.flows.items()},
            "role": {name: role_entry(role) for name, role in self.roles.items()},
        }
        return {kind: dict(sorted(entries.items())) for kind, entries in kinds.items()}


def role_entry(role: Group) -> dict[str, Any]:
    rights: dict[str, list[str]] = {}
    for mapping in role.role_mappings.all():
        rights.setdefault(mapping.right, []).append(mapping.flow.name if mapping.flow else "*")
    return completed_role(rights)
