"""What an import is about to do, held against itself and against what is in use."""

from __future__ import annotations

from flows.configuration.faults import Faults, inside, quoted
from flows.configuration.present import Present
from flows.configuration.wanted import Wanted
from flows.models import QueueState, Run
from scripts.models import Script
from scripts.names import address_fault

_UNFINISHED = (Run.Status.QUEUED, Run.Status.RUNNING)


class Intent:
    """What is wanted and what goes, by name, and the steps of the flows that stay as they are."""

    def __init__(self, wanted: Wanted, present: Present, prune: bool, faults: Faults) -> None:
        self.wanted = wanted
        self.present = present
        self.prune = prune
        self.faults = faults
        self.made_queues = {
            step.values["queue"]
            for flow in wanted.flows.values()
            for step in flow.parts
            if step.makes_queue
        }
        self.removed_libraries = self._unnamed("libraries", set(present.libraries))
        self.removed_scripts = self._unnamed("scripts", set(present.scripts))
        self.removed_queues = self._unnamed("queues", set(present.queues)) - self.made_queues
        self.removed_flows = self._unnamed("flows", set(present.flows))
        self.removed_roles = self._unnamed("rbac", set(present.roles))
        self.kept_scripts = [
            script
            for name, script in present.scripts.items()
            if name not in self.removed_scripts | wanted.named["scripts"]
        ]
        self.kept_steps = {
            (flow, step.name): step
            for flow, steps in present.steps.items()
            for step in steps
            if flow not in self.removed_flows and flow not in wanted.named["flows"]
        }

    def check(self) -> None:
        """Add to the faults what does not fit together, or to what is there."""
        self._check_names()
        self._check_libraries()
        self._check_steps()
        self._check_roles()
        self._check_use()
        self._check_queues_are_free()
        self._check_flows_are_free()

    def _check_names(self) -> None:
        """Look at the new names of what is reached by its name; those that are stored may stay."""
        for entries, present in (
            (self.wanted.queues, self.present.queues),
            (self.wanted.flows, self.present.flows),
        ):
            for name, entry in entries.items():
                if name not in present and (fault := address_fault(name)):
                    self.faults.add(entry.at("name"), fault)
        for flow in self.wanted.flows.values():
            for step in flow.parts:
                name = step.values["queue"]
                is_new = step.makes_queue and name not in self.present.queues
                if is_new and (fault := address_fault(name)):
                    self.faults.add(step.at("queue"), fault)

    def _unnamed(self, section: str, names: set[str]) -> set[str]:
        if not self.prune or section not in self.wanted.sections:
            return set()
        return names - self.wanted.named[section]

    def _check_libraries(self) -> None:
        languages = {
            name: library.language
            for name, library in self.present.libraries.items()
            if name not in self.removed_libraries | self.wanted.named["libraries"]
        }
        wanted = self.wanted.libraries.items()
        languages |= {name: library.values["language"] for name, library in wanted}
        for script in self.wanted.scripts.values():
            for index, name in enumerate(script.values["libraries"]):
                place = inside(script.at("libraries"), index)
                if name not in languages:
                    if name not in self.wanted.named["libraries"]:
                        self.faults.add(place, self._no("library", name))
                elif languages[name] != script.values["language"]:
                    self.faults.add(place, f"the library {quoted(name)} is of another language")

    def _check_steps(self) -> None:
        scripts = set(self.present.scripts) - self.removed_scripts | self.wanted.named["scripts"]
        queues = set(self.present.queues) - self.removed_queues | self.wanted.named["queues"]
        feeds = {step.queue.name: key for key, step in self.kept_steps.items()}
        for flow in self.wanted.flows.values():
            for step in flow.parts:
                script, queue = step.values["script"], step.values["queue"]
                if script not in scripts:
                    self.faults.add(step.at("script"), self._no("script", script))
                if queue not in queues | self.made_queues:
                    self.faults.add(step.at("queue"), self._no("queue", queue))
                if queue in feeds:
                    other_flow, other_step = map(quoted, feeds[queue])
                    self.faults.add(
                        step.at("queue"),
                        f"the queue {quoted(queue)} feeds the step {other_step} of the flow "
                        f"{other_flow} already",
                    )
                feeds.setdefault(queue, (flow.values["name"], step.values["name"]))

    def _check_roles(self) -> None:
        flows = set(self.present.flows) - self.removed_flows | self.wanted.named["flows"]
        for role in self.wanted.roles.values():
            for right, names in role.values.items():
                for name in names:
                    if name != "*" and name not in flows:
                        self.faults.add(role.at(right), self._no("flow", name))

    def _no(self, kind: str, name: str) -> str:
        removed = {
            "library": self.removed_libraries,
            "script": self.removed_scripts,
            "queue": self.removed_queues,
            "flow": self.removed_flows,
        }
        if name in removed[kind]:
            return f"the {kind} {quoted(name)} is removed, since the document does not name it"
        return f"there is no {kind} {quoted(name)}"

    def _check_use(self) -> None:
        for script in self.kept_scripts:
            for library in script.libraries:
                if library.name in self.removed_libraries:
                    used_by = f"the script {quoted(script.name)} uses it"
                    self._cannot_remove("libraries", "library", library.name, used_by)
                self._check_language_of_used(library.name, script)
        for (flow, name), step in self.kept_steps.items():
            used_by = f"the step {quoted(name)} of the flow {quoted(flow)} uses it"
            if step.script.name in self.removed_scripts:
                self._cannot_remove("scripts", "script", step.script.name, used_by)
            if step.queue.name in self.removed_queues:
                self._cannot_remove("queues", "queue", step.queue.name, used_by)

    def _check_language_of_used(self, name: str, script: Script) -> None:
        library = self.wanted.libraries.get(name)
        if library is not None and library.values["language"] != script.language:
            self.faults.add(
                library.at("language"),
                f"the script {quoted(script.name)} uses it, which is of another language",
            )

    def _check_queues_are_free(self) -> None:
        # Locked, so that no message comes in until the queue is gone.
        states = QueueState.objects.filter(queue__name__in=self.removed_queues).select_for_update()
        by_queue = {state.queue_id: state for state in states}
        for name in sorted(self.removed_queues):
            queue = self.present.queues[name]
            state = by_queue[queue.pk]
            unfinished = Run.objects.filter(
                status__in=_UNFINISHED, flow_version__steps__queue=queue
            )
            if messages := state.depth + state.delayed:
                self._cannot_remove("queues", "queue", name, f"messages in it: {messages}")
            elif state.reserved or unfinished.exists():
                self._cannot_remove("queues", "queue", name, "unfinished runs still need it")

    def _check_flows_are_free(self) -> None:
        for name in sorted(self.removed_flows):
            unfinished = Run.objects.filter(
                status__in=_UNFINISHED, flow_version__flow=self.present.flows[name]
            ).count()
            if unfinished:
                self._cannot_remove("flows", "flow", name, f"unfinished runs: {unfinished}")

    def _cannot_remove(self, section: str, kind: str, name: str, why: str) -> None:
        self.faults.add(section, f"the {kind} {quoted(name)} cannot be removed: {why}")
