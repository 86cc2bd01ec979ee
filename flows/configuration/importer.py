"""Makes the database what a document says."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models import ProtectedError

from flows.configuration.changes import Changes, compare
from flows.configuration.entries import (
    completed_queue,
    fill_flow,
    fill_library,
    fill_queue,
    fill_script,
    flow_entry,
    library_entry,
    queue_entry,
    same,
    script_entry,
)
from flows.configuration.faults import Faults, quoted
from flows.configuration.intent import Intent
from flows.configuration.placed import Entry
from flows.configuration.present import Present
from flows.configuration.text import check_values
from flows.configuration.wanted import Wanted, read_wanted
from flows.models import (
    ConfigurationRevision,
    Flow,
    Queue,
    RoleMapping,
    Step,
)
from flows.models.users import has_members
from scripts.models import Library, Script


def import_configuration(document: Any, *, dry_run: bool = False, prune: bool = False) -> Changes:
    """Make the configuration what the document says, all of it or nothing.

    The document says all about what it names: a key that is left out stands for its default, for
    what exists already too. What it does not name stays, unless `prune` is set: then it is removed
    where the document has the section it belongs to. A flow's steps are replaced, and so are a
    role's rights. Raises ConfigurationInvalid with every fault that was found.

    With `dry_run` the changes are made, compared and rolled back.
    """
    faults = Faults()
    wanted = _read(document, faults)
    with transaction.atomic():
        ConfigurationRevision.lock()
        present = Present.load()
        before = present.entries()
        intent = Intent(wanted, present, prune, faults)
        intent.check()
        faults.raise_if_any()
        _Import(intent, present, faults).carry_out()
        faults.raise_if_any()
        changes = compare(before, Present.load().entries())
        changes.warnings.extend(wanted.warnings)
        if dry_run:
            transaction.set_rollback(True)
    return changes


def check_document(document: Any) -> list[str]:
    """Return the warnings of a document that is valid by itself; needs no database.

    Whether what it refers to is there is not looked at. Raises ConfigurationInvalid.
    """
    faults = Faults()
    wanted = _read(document, faults)
    faults.raise_if_any()
    return wanted.warnings


def _read(document: Any, faults: Faults) -> Wanted:
    check_values(document, faults)
    faults.raise_if_any()
    return read_wanted(document, faults)


class _Import:
    def __init__(self, intent: Intent, present: Present, faults: Faults) -> None:
        self.intent = intent
        self.wanted = intent.wanted
        self.present = present
        self.faults = faults

    def carry_out(self) -> None:
        libraries, changed_libraries = self._save_libraries()
        scripts, changed_scripts = self._save_scripts(libraries)
        queues = self._save_queues()
        self._remove_flows()
        kept = self._free_queues()
        changed_flows = self._save_flows(scripts, queues, kept)
        self._save_roles()
        self._remove_roles()
        self._remove("queues", "queue", self.intent.removed_queues, self.present.queues)
        self._remove("scripts", "script", self.intent.removed_scripts, self.present.scripts)
        self._remove("libraries", "library", self.intent.removed_libraries, self.present.libraries)
        touched = Flow.objects.filter(
            models.Q(name__in=changed_flows)
            | models.Q(steps__script__name__in=changed_scripts)
            | models.Q(steps__script__library_uses__library__name__in=changed_libraries)
        )
        for flow in touched.distinct():
            flow.make_version()

    def _save_libraries(self) -> tuple[dict[str, Library], set[str]]:
        libraries, changed = dict(self.present.libraries), set()
        for name, entry in self.wanted.libraries.items():
            library = libraries.setdefault(name, Library(name=name))
            if library.pk is None or not same(library_entry(library), entry.values):
                fill_library(library, entry.values)
                _save(library)
                changed.add(name)
        return libraries, changed

    def _save_scripts(self, libraries: dict[str, Library]) -> tuple[dict[str, Script], set[str]]:
        scripts, changed = dict(self.present.scripts), set()
        for name, entry in self.wanted.scripts.items():
            script = scripts.setdefault(name, Script(name=name))
            if script.pk is None or not same(script_entry(script), entry.values):
                fill_script(script, entry.values, libraries)
                _save(script)
                changed.add(name)
        return scripts, changed

    def _save_queues(self) -> dict[str, Queue]:
        queues = dict(self.present.queues)
        made = {
            name: completed_queue({"name": name})
            for name in sorted(self.intent.made_queues - set(queues))
        }
        given = {name: entry.values for name, entry in self.wanted.queues.items()}
        for name, values in {**made, **given}.items():
            queue = queues.setdefault(name, Queue(name=name))
            wanted = {"paused": queue.paused} | values
            if queue.pk is None or not same(queue_entry(queue), wanted):
                fill_queue(queue, wanted)
                _save(queue)
        return queues

    def _remove_flows(self) -> None:
        self._remove("flows", "flow", self.intent.removed_flows, self.present.flows)

    def _free_queues(self) -> dict[tuple[str, str], Step]:
        """Delete the steps that go or change their queue, and return the others.

        A queue feeds one step, so all steps give up their queues before any takes a new one.
        """
        kept = {}
        for name, flow in self.wanted.flows.items():
            queues = {step.values["name"]: step.values["queue"] for step in flow.parts}
            for step in self.present.steps.get(name, []):
                if queues.get(step.name) == step.queue.name:
                    kept[name, step.name] = step
                else:
                    _delete(step)
        return kept

    def _save_flows(
        self,
        scripts: dict[str, Script],
        queues: dict[str, Queue],
        kept: dict[tuple[str, str], Step],
    ) -> set[str]:
        changed = set()
        for name, entry in self.wanted.flows.items():
            flow = self.present.flows.get(name) or Flow(name=name)
            old = None if flow.pk is None else flow_entry(flow, self.present.steps[name])
            if old and same(old, entry.values):
                continue
            changed.add(name)
            if old is None or not same({**old, "steps": []}, {**entry.values, "steps": []}):
                fill_flow(flow, entry.values)
                _save(flow)
            for position, part in enumerate(entry.parts):
                step = kept.get((name, part.values["name"]))
                self._save_step(flow, step, position, part, scripts, queues)
        return changed

    def _save_step(
        self,
        flow: Flow,
        step: Step | None,
        position: int,
        entry: Entry,
        scripts: dict[str, Script],
        queues: dict[str, Queue],
    ) -> None:
        step = step or Step(flow=flow, name=entry.values["name"])
        values = {
            "position": position,
            "script_id": scripts[entry.values["script"]].pk,
            "queue_id": queues[entry.values["queue"]].pk,
            "threads": entry.values["threads"],
            "join": entry.values.get("join", False),
        }
        if step.pk is None or any(getattr(step, key) != value for key, value in values.items()):
            for key, value in values.items():
                setattr(step, key, value)
            _save(step)

    def _save_roles(self) -> None:
        flows = {flow.name: flow for flow in Flow.objects.all()}
        for name, entry in self.wanted.roles.items():
            role = self.present.roles.get(name) or Group.objects.create(name=name)
            missing = {(right, flow) for right, names in entry.values.items() for flow in names}
            for mapping in role.role_mappings.select_related("flow"):
                key = (mapping.right, mapping.flow.name if mapping.flow else "*")
                if key in missing:
                    missing.remove(key)
                else:
                    _delete(mapping)
            for right, flow in sorted(missing):
                _save(RoleMapping(role=role, right=right, flow=flows.get(flow)))

    def _remove_roles(self) -> None:
        """Take all rights from the roles, and delete those that are nothing more than a name."""
        for name in sorted(self.intent.removed_roles):
            role = self.present.roles[name]
            had_rights = bool(role.role_mappings.all())
            # Read again: the rights to a removed flow went with it.
            for mapping in role.role_mappings.order_by("pk"):
                _delete(mapping)
            if had_rights and not has_members(role) and not role.permissions.exists():
                role.delete()

    def _remove(self, section: str, kind: str, names: set[str], rows: dict[str, Any]) -> None:
        for name in sorted(names):
            try:
                _delete(rows[name])
            except ProtectedError as error:
                users = ", ".join(sorted(str(user) for user in error.protected_objects))
                self.faults.add(
                    section, f"the {kind} {quoted(name)} cannot be removed: {users} uses it"
                )


def _save(row: Any) -> None:
    row._change_reason = "configuration import"
    row.save()


def _delete(row: Any) -> None:
    row._change_reason = "configuration import"
    row.delete()
