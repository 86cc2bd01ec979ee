"""Imports a document: plans what is to change, checks the plan and applies it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models import ProtectedError

from flows.configuration.alerts import (
    INSTALLATION,
    fill_target,
    filled_thresholds,
    missing_addresses,
    thresholds_entry,
)
from flows.configuration.changes import Changes, compare
from flows.configuration.current import CurrentState
from flows.configuration.desired import DesiredState, read_desired
from flows.configuration.entry import SECTIONS
from flows.configuration.faults import Faults, quoted
from flows.configuration.import_plan import ImportPlan, plan_import
from flows.configuration.plan_checks import PlanChecks
from flows.configuration.rows import (
    fill_flow,
    fill_library,
    fill_queue,
    fill_script,
    flow_entry,
    queue_entry,
    same,
)
from flows.configuration.schedules import fill_schedule, schedule_entry
from flows.configuration.tables import TableImport, table_entries
from flows.configuration.text import check_values
from flows.models import (
    AlertTarget,
    AlertThresholds,
    ConfigurationRevision,
    Flow,
    FlowSchedule,
    Queue,
    RoleMapping,
    Step,
)
from flows.models.users import has_members
from scripts.models import ConfigurationValue, Library, Script

Row = TypeVar("Row", bound=models.Model)
# Keys of a flow or queue that stand for rows of their own.
OF_ROWS = ("schedules", "alertThresholds")


def import_configuration(
    document: Any, *, dry_run: bool = False, prune: bool = False, author: Any = None
) -> Changes:
    """Make the configuration what the document says, all of it or nothing.

    A key that is left out of an entry stands for its default, also where the row exists already.
    An import replaces the steps of a flow and the rights of a role. Rows that the document does not
    name stay. With `prune` they are deleted if the document has their section. With `dry_run` the
    changes are made, compared and rolled back. Raises ConfigurationInvalid with every fault.
    """
    faults = Faults()
    desired = _read(document, faults)
    with TableImport(desired.tables, faults) as tables, transaction.atomic():
        ConfigurationRevision.lock()
        current = CurrentState.read()
        before, tables_before = current.entries(), table_entries()
        plan = plan_import(desired, before, prune)
        PlanChecks(plan, desired, current, before, faults).run()
        faults.raise_if_any()
        _Import(plan, current, faults, author).apply()
        tables.apply()
        faults.raise_if_any()
        changes = compare(before, CurrentState.read().entries())
        changes.items.extend(compare({"table": tables_before}, {"table": table_entries()}).items)
        missing = [
            *tables.warnings,
            *_missing_values(desired.values),
            *missing_addresses(desired.targets),
        ]
        changes.warnings.extend([*desired.warnings, *missing])
        if dry_run:
            transaction.set_rollback(True)
    return changes


def _missing_values(names: list[str]) -> list[str]:
    """Return a warning for each value that the document expects and this installation lacks."""
    present = set(ConfigurationValue.objects.values_list("name", flat=True))
    missing = dict.fromkeys(name for name in names if name not in present)
    return [f"config: the value {quoted(name)} has not been entered here" for name in missing]


def check_document(document: Any) -> list[str]:
    """Return the warnings of a document that is valid by itself; needs no database.

    Names of entries that only the database may have are not checked. Raises ConfigurationInvalid.
    """
    faults = Faults()
    desired = _read(document, faults)
    faults.raise_if_any()
    return desired.warnings


def _read(document: Any, faults: Faults) -> DesiredState:
    check_values(document, faults)
    faults.raise_if_any()
    return read_desired(document, faults)


class _Import:
    def __init__(
        self, plan: ImportPlan, current: CurrentState, faults: Faults, author: Any
    ) -> None:
        self.plan = plan
        self.current = current
        self.faults = faults
        self.author = author

    def apply(self) -> None:
        libraries = self._save_rows("library", Library, fill_library)
        scripts = self._save_rows("script", Script, partial(fill_script, libraries=libraries))
        queues = self._save_queues()
        self._delete("flow")
        kept = self._free_queues()
        self._save_flows(scripts, queues, kept)
        self._save_roles()
        self._delete_roles()
        self._save_rows("alert target", AlertTarget, fill_target)
        if (thresholds := self.plan["alert thresholds"].save.get(INSTALLATION)) is not None:
            _save_thresholds(thresholds)
        for kind in ("queue", "script", "library", "alert target"):
            self._delete(kind)
        self._make_versions()

    def _save_rows(
        self, kind: str, model: type[Row], fill: Callable[[Row, dict[str, Any]], None]
    ) -> dict[str, Row]:
        """Create and update the rows of a kind, and return all of them by name."""
        rows: dict[str, Row] = dict(self.current.rows[kind])
        for name, values in self.plan[kind].save.items():
            row = rows.setdefault(name, model(name=name))
            fill(row, values)
            _save(row)
        return rows

    def _save_queues(self) -> dict[str, Queue]:
        rows: dict[str, Queue] = dict(self.current.rows["queue"])
        for name, values in self.plan["queue"].save.items():
            own = {key: value for key, value in values.items() if key not in OF_ROWS}
            row = rows.setdefault(name, Queue(name=name))
            if row.pk is None or not same(queue_entry(row), own):
                fill_queue(row, own)
                _save(row)
            _save_thresholds(values.get("alertThresholds", {}), queue=row)
        return rows

    def _free_queues(self) -> dict[tuple[str, str], Step]:
        """Delete the steps that go or change their queue, and return the others.

        A queue feeds one step, so all steps give up their queues before any takes a new one.
        """
        kept = {}
        for name, values in self.plan["flow"].update.items():
            queues = {step["name"]: step["queue"] for step in values["steps"]}
            for step in self.current.steps[name]:
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
    ) -> None:
        for name, values in self.plan["flow"].save.items():
            flow = self.current.rows["flow"].get(name) or Flow(name=name)
            others = {key: value for key, value in values.items() if key not in OF_ROWS}
            if flow.pk is None or not same(flow_entry(flow, []), others | {"steps": []}):
                fill_flow(flow, values)
                _save(flow)
            _save_schedules(flow, values.get("schedules", []))
            _save_thresholds(values.get("alertThresholds", {}), flow=flow)
            for position, entry in enumerate(values["steps"]):
                step = kept.get((name, entry["name"])) or Step(flow=flow, name=entry["name"])
                columns = {
                    "position": position,
                    "script_id": scripts[entry["script"]].pk,
                    "queue_id": queues[entry["queue"]].pk,
                    "threads": entry["threads"],
                    "join": entry.get("join", False),
                    "goes_to": entry.get("goesTo", []),
                }
                _save_step(step, columns)

    def _save_roles(self) -> None:
        flows = {flow.name: flow for flow in Flow.objects.all()}
        for name, rights in self.plan["role"].save.items():
            role = self.current.rows["role"].get(name) or Group.objects.create(name=name)
            missing = {(right, flow) for right, names in rights.items() for flow in names}
            for mapping in role.role_mappings.select_related("flow"):
                key = (mapping.right, mapping.flow.name if mapping.flow else "*")
                if key in missing:
                    missing.remove(key)
                else:
                    _delete(mapping)
            for right, flow in sorted(missing):
                _save(RoleMapping(role=role, right=right, flow=flows.get(flow)))

    def _delete_roles(self) -> None:
        """Take all rights from the roles, and delete a role that has nothing but its name."""
        for name in sorted(self.plan["role"].delete):
            role = self.current.rows["role"][name]
            had_rights = bool(role.role_mappings.all())
            # Read again: the rights to a deleted flow are deleted with it.
            for mapping in role.role_mappings.order_by("pk"):
                _delete(mapping)
            if had_rights and not has_members(role) and not role.permissions.exists():
                role.delete()

    def _delete(self, kind: str) -> None:
        rows = self.current.rows[kind]
        for name in sorted(self.plan[kind].delete):
            try:
                _delete(rows[name])
            except ProtectedError as error:
                users = ", ".join(sorted(str(user) for user in error.protected_objects))
                self.faults.add(
                    SECTIONS[kind], f"the {kind} {quoted(name)} cannot be removed: {users} uses it"
                )

    def _make_versions(self) -> None:
        changed = {kind: list(actions.save) for kind, actions in self.plan.items()}
        flows = Flow.objects.filter(
            models.Q(name__in=changed["flow"])
            | models.Q(steps__script__name__in=changed["script"])
            | models.Q(steps__script__library_uses__library__name__in=changed["library"])
        )
        for flow in flows.distinct():
            flow.make_version(self.author)


def _save_schedules(flow: Flow, entries: list[dict[str, Any]]) -> None:
    rows = {schedule.name: schedule for schedule in flow.schedules.all()}
    for entry in entries:
        schedule = rows.pop(entry["name"], None) or FlowSchedule(flow=flow)
        if schedule.pk is None or not same(schedule_entry(schedule), entry):
            _save(fill_schedule(schedule, entry))
    for schedule in rows.values():
        _delete(schedule)


def _save_thresholds(
    entry: dict[str, Any], *, flow: Flow | None = None, queue: Queue | None = None
) -> None:
    row = AlertThresholds.objects.filter(flow=flow, queue=queue).first()
    if row is not None and not entry:
        _delete(row)
    elif entry and (row is None or not same(thresholds_entry(row), entry)):
        _save(filled_thresholds(row or AlertThresholds(flow=flow, queue=queue), entry))


def _save_step(step: Step, columns: dict[str, Any]) -> None:
    if step.pk is None or any(getattr(step, key) != value for key, value in columns.items()):
        for key, value in columns.items():
            setattr(step, key, value)
        _save(step)


def _save(row: Any) -> None:
    row._change_reason = "configuration import"
    row.save()


def _delete(row: Any) -> None:
    row._change_reason = "configuration import"
    row.delete()
