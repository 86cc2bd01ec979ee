"""Checks a plan: whether its entries fit together, and whether it deletes what is still in use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flows.configuration.current import CurrentState, EntriesByKind
from flows.configuration.desired import DesiredState
from flows.configuration.entry import SECTIONS
from flows.configuration.faults import Faults, inside, quoted
from flows.configuration.import_plan import ImportPlan
from flows.models import QueueState, Run
from flows.models.queue import LONGEST_POLLING
from scripts.names import address_fault

MOST_POLLING_MS = LONGEST_POLLING / timedelta(milliseconds=1)


class PlanChecks:
    """The checks of one plan. Each adds to the faults."""

    def __init__(
        self,
        plan: ImportPlan,
        desired: DesiredState,
        current: CurrentState,
        entries: EntriesByKind,
        faults: Faults,
    ) -> None:
        self.plan = plan
        self.desired = desired
        self.current = current
        self.entries = entries
        self.faults = faults

    def run(self) -> None:
        self._check_names()
        self._check_queues()
        self._check_libraries()
        self._check_steps()
        self._check_starts()
        self._check_roles()
        self._check_kept_scripts()
        self._check_kept_steps()
        self._check_queues_are_free()
        self._check_flows_are_free()

    def _check_names(self) -> None:
        """Check the new names that stand in addresses. A stored name may stay as it is."""
        for kind in ("queue", "flow"):
            for name, entry in self.desired.entries(kind).items():
                if name not in self.entries[kind] and (fault := address_fault(name)):
                    self.faults.add(entry.at("name"), fault)
        self._check_schedule_names()
        for flow in self.desired.flows.values():
            for step in flow.steps:
                name = step.values["queue"]
                is_new = step.makes_queue and name not in self.entries["queue"]
                if is_new and (fault := address_fault(name)):
                    self.faults.add(step.at("queue"), fault)

    def _check_schedule_names(self) -> None:
        for flow_name, flow in self.desired.entries("flow").items():
            stored = self.entries["flow"].get(flow_name, {}).get("schedules", [])
            known = {each["name"] for each in stored}
            for each in flow.values.get("schedules", []):
                name = each["name"]
                if name not in known and (fault := address_fault(name)):
                    self.faults.add(flow.at("schedules"), f"the name {quoted(name)} {fault}")

    def _check_queues(self) -> None:
        """Check new durations against each other. Stored ones may stay."""
        for name, entry in self.desired.queues.items():
            stored = self.entries["queue"].get(name, {})
            backoff, polling = entry.values["backoff"], entry.values["pollingMs"]
            is_longer = backoff["initialSeconds"] > backoff["maxSeconds"]
            if is_longer and stored.get("backoff") != backoff:
                fault = "must not be longer than maxSeconds"
                self.faults.add(inside(entry.at("backoff"), "initialSeconds"), fault)
            if polling > MOST_POLLING_MS and stored.get("pollingMs") != polling:
                self.faults.add(entry.at("pollingMs"), f"must be at most {MOST_POLLING_MS:g}")

    def _check_libraries(self) -> None:
        languages = {name: entry["language"] for name, entry in self._kept("library").items()}
        languages |= {
            name: library.values["language"] for name, library in self.desired.libraries.items()
        }
        for script in self.desired.scripts.values():
            for index, name in enumerate(script.values["libraries"]):
                place = inside(script.at("libraries"), index)
                if name not in languages:
                    if name not in self.desired.named["libraries"]:
                        self.faults.add(place, self._no("library", name))
                elif languages[name] != script.values["language"]:
                    self.faults.add(place, f"the library {quoted(name)} is of another language")

    def _check_steps(self) -> None:
        scripts, queues = self._names_after("script"), self._names_after("queue")
        feeds = {
            step["queue"]: (flow, step["name"])
            for flow, entry in self._kept("flow").items()
            for step in entry["steps"]
        }
        for flow in self.desired.flows.values():
            for step in flow.steps:
                script, queue = step.values["script"], step.values["queue"]
                if script not in scripts:
                    self.faults.add(step.at("script"), self._no("script", script))
                if queue not in queues:
                    self.faults.add(step.at("queue"), self._no("queue", queue))
                if queue in feeds:
                    other_flow, other_step = map(quoted, feeds[queue])
                    self.faults.add(
                        step.at("queue"),
                        f"the queue {quoted(queue)} feeds the step {other_step} of the flow "
                        f"{other_flow} already",
                    )
                feeds.setdefault(queue, (flow.values["name"], step.values["name"]))

    def _check_starts(self) -> None:
        flows = self._names_after("flow")
        for flow in self.desired.flows.values():
            for index, name in enumerate(flow.values.get("starts", [])):
                if name not in flows:
                    self.faults.add(inside(flow.at("starts"), index), self._no("flow", name))

    def _check_roles(self) -> None:
        flows = self._names_after("flow")
        for role in self.desired.roles.values():
            for right, names in role.values.items():
                for name in names:
                    if name != "*" and name not in flows:
                        self.faults.add(role.at(right), self._no("flow", name))

    def _check_kept_scripts(self) -> None:
        for name, script in self._kept("script").items():
            for library in script["libraries"]:
                if library in self.plan["library"].delete:
                    self._cannot_delete("library", library, f"the script {quoted(name)} uses it")
                entry = self.desired.libraries.get(library)
                if entry is not None and entry.values["language"] != script["language"]:
                    self.faults.add(
                        entry.at("language"),
                        f"the script {quoted(name)} uses it, which is of another language",
                    )

    def _check_kept_steps(self) -> None:
        for flow, entry in self._kept("flow").items():
            for step in entry["steps"]:
                used_by = f"the step {quoted(step['name'])} of the flow {quoted(flow)} uses it"
                for kind in ("script", "queue"):
                    if step[kind] in self.plan[kind].delete:
                        self._cannot_delete(kind, step[kind], used_by)

    def _check_queues_are_free(self) -> None:
        deleted = self.plan["queue"].delete
        # Locked, so that no message comes in until the queue is gone.
        states = QueueState.objects.filter(queue__name__in=deleted).select_for_update()
        by_queue = {state.queue_id: state for state in states}
        for name in sorted(deleted):
            queue = self.current.rows["queue"][name]
            state = by_queue[queue.pk]
            unfinished = Run.objects.filter(
                status__in=Run.UNFINISHED, flow_version__steps__queue=queue
            )
            if messages := state.depth + state.delayed:
                self._cannot_delete("queue", name, f"messages in it: {messages}")
            elif state.reserved or unfinished.exists():
                self._cannot_delete("queue", name, "unfinished runs still need it")

    def _check_flows_are_free(self) -> None:
        for name in sorted(self.plan["flow"].delete):
            unfinished = Run.objects.filter(
                status__in=Run.UNFINISHED, flow_version__flow=self.current.rows["flow"][name]
            ).count()
            if unfinished:
                self._cannot_delete("flow", name, f"unfinished runs: {unfinished}")

    def _kept(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the entries of the database that the plan leaves as they are, by name."""
        left = self.plan[kind].delete | self.desired.named[SECTIONS[kind]]
        return {name: entry for name, entry in self.entries[kind].items() if name not in left}

    def _names_after(self, kind: str) -> set[str]:
        """Return the names after the import, also those of entries with faults."""
        names = self.entries[kind].keys() - self.plan[kind].delete
        return names | self.plan[kind].create.keys() | self.desired.named[SECTIONS[kind]]

    def _no(self, kind: str, name: str) -> str:
        if name in self.plan[kind].delete:
            return f"the {kind} {quoted(name)} is removed, since the document does not name it"
        return f"there is no {kind} {quoted(name)}"

    def _cannot_delete(self, kind: str, name: str, why: str) -> None:
        self.faults.add(SECTIONS[kind], f"the {kind} {quoted(name)} cannot be removed: {why}")
