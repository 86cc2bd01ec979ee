"""The desired state: what a document asks for, each entry checked by itself and completed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flows.configuration import entry_schemas
from flows.configuration.alerts import INSTALLATION, completed_target, completed_thresholds
from flows.configuration.completion import (
    completed_flow,
    completed_library,
    completed_queue,
    completed_role,
    completed_script,
)
from flows.configuration.entry import SECTIONS, Entry
from flows.configuration.faults import Faults, inside, quoted
from flows.configuration.original import (
    is_original_flow,
    is_original_rbac,
    original_flow,
)
from flows.configuration.schedules import faults_of as schedule_faults
from flows.configuration.validation import matches_schema, type_name
from flows.models import Flow
from scripts.examination.faults import Fault, library_faults, schema_fault, script_faults
from scripts.host.languages import library_name_fault
from scripts.models import Language
from scripts.services.addresses import allowed_host_fault

# Characters of a line of code that has a fault.
_MAX_SHOWN = 100

# Sections that are no lists.
OBJECTS = ("rbac", "alertThresholds")


@dataclass(slots=True)
class DesiredState:
    """What a document asks for, by name. Entries with faults are left out."""

    sections: set[str] = field(default_factory=set)
    libraries: dict[str, Entry] = field(default_factory=dict)
    scripts: dict[str, Entry] = field(default_factory=dict)
    queues: dict[str, Entry] = field(default_factory=dict)
    flows: dict[str, Entry] = field(default_factory=dict)
    roles: dict[str, Entry] = field(default_factory=dict)
    targets: dict[str, Entry] = field(default_factory=dict)
    # Those of the installation alone.
    thresholds: dict[str, Entry] = field(default_factory=dict)
    # Reference tables: what identifies their files.
    tables: dict[str, Entry] = field(default_factory=dict)
    # The values of the installation that the scripts expect: their names alone.
    values: list[str] = field(default_factory=list)
    # Faults that an import accepts, each with its place.
    warnings: list[str] = field(default_factory=list)
    # Names by section, also of entries with faults, so that one fault does not cause others.
    named: dict[str, set[str]] = field(
        default_factory=lambda: {section: set() for section in SECTIONS.values()}
    )

    def entries(self, kind: str) -> dict[str, Entry]:
        by_kind = {
            "library": self.libraries,
            "script": self.scripts,
            "queue": self.queues,
            "flow": self.flows,
            "role": self.roles,
            "alert target": self.targets,
            "alert thresholds": self.thresholds,
        }
        return by_kind[kind]


def read_desired(document: Any, faults: Faults) -> DesiredState:
    """Read a document in the form of this product or of the original one."""
    if isinstance(document, list):
        return _Reader(faults, {"flows": ""}).read({"flows": document})
    if is_original_rbac(document):
        return _Reader(faults, {"rbac": ""}).read({"rbac": document})
    if not isinstance(document, dict):
        faults.add("", f"The document must be an object, not {type_name(document)}.")
        return DesiredState()
    return _Reader(faults, {}).read(document)


class _Reader:
    def __init__(self, faults: Faults, places: dict[str, str]) -> None:
        self.faults = faults
        self.places = places
        self.desired = DesiredState()

    def read(self, document: dict[str, Any]) -> DesiredState:
        readers: dict[str, Callable[[Any, str], None]] = {
            "libraries": self._read_libraries,
            "scripts": self._read_scripts,
            "queues": self._read_queues,
            "flows": self._read_flows,
            "rbac": self._read_roles,
            "tables": self._read_tables,
            "config": self._read_values,
            "alertTargets": self._read_targets,
            "alertThresholds": self._read_thresholds,
        }
        for key in document:
            # Editors find the schema of the document by this key.
            if key not in readers and key != "$schema":
                self.faults.add("", f"unknown key {quoted(key)}: known are {', '.join(readers)}")
        for section, read in readers.items():
            expected = dict if section in OBJECTS else list
            place = self.places.get(section, section)
            if section not in document:
                continue
            if isinstance(document[section], expected):
                self.desired.sections.add(section)
                read(document[section], place)
            else:
                form = "an object" if expected is dict else "a list"
                found = type_name(document[section])
                self.faults.add(place, f"must be {form}, not {found}")
        return self.desired

    def _read_tables(self, tables: list[Any], place: str) -> None:
        for index, item in enumerate(tables):
            where = inside(place, index)
            if not matches_schema(entry_schemas.TABLE, _plain(item), where, self.faults):
                continue
            entry = Entry(where, item)
            if item["name"] in self.desired.tables:
                self.faults.add(entry.at("name"), f"{quoted(item['name'])} stands there twice")
            elif "digest" not in item and "file" not in item:
                self.faults.add(where, "needs `file`, in a directory, or `digest`")
            self.desired.tables[item["name"]] = entry

    def _read_values(self, names: list[Any], place: str) -> None:
        for index, name in enumerate(names):
            if isinstance(name, str):
                self.desired.values.append(name)
            else:
                self.faults.add(inside(place, index), "must be the name of a value")

    def _read_targets(self, targets: list[Any], place: str) -> None:
        for item, where in self._entries("alertTargets", "name", targets, place):
            if matches_schema(entry_schemas.ALERT_TARGET, item, where, self.faults):
                self.desired.targets.setdefault(item["name"], Entry(where, completed_target(item)))

    def _read_thresholds(self, thresholds: dict[str, Any], place: str) -> None:
        self.desired.named["alertThresholds"].add(INSTALLATION)
        if matches_schema(entry_schemas.ALERT_THRESHOLDS, thresholds, place, self.faults):
            entry = Entry(place, completed_thresholds(thresholds))
            self.desired.thresholds[INSTALLATION] = entry

    def _read_libraries(self, libraries: list[Any], place: str) -> None:
        for item, where in self._entries("libraries", "name", libraries, place):
            if not matches_schema(entry_schemas.LIBRARY, item, where, self.faults):
                continue
            entry = Entry(where, completed_library(item))
            language, name, code = (entry.values[key] for key in ("language", "name", "code"))
            if fault := library_name_fault(language, name):
                self.faults.add(entry.at("name"), fault)
            self._add_code_faults(entry, library_faults(language, code))
            self.desired.libraries.setdefault(name, entry)

    def _read_scripts(self, scripts: list[Any], place: str) -> None:
        for item, where in self._entries("scripts", "name", scripts, place):
            if not matches_schema(entry_schemas.SCRIPT, item, where, self.faults):
                continue
            entry = Entry(where, completed_script(item))
            self._check_content(entry)
            self.desired.scripts.setdefault(item["name"], entry)

    def _check_content(self, entry: Entry) -> None:
        script = entry.values
        if not script["code"].strip():
            self.faults.add(entry.at("code"), "must not be empty")
        else:
            self._add_code_faults(entry, self._code_faults(script))
        if script.get("inTransaction") and script["language"] != Language.CALLABLE:
            self.faults.add(entry.at("inTransaction"), "is for callables alone")
        for index, host in enumerate(script.get("allowedHosts", [])):
            if no_host := allowed_host_fault(host):
                self.faults.add(inside(entry.at("allowedHosts"), index), no_host)
        for key in ("inputSchema", "outputSchema"):
            if fault := schema_fault(script[key]):
                self.faults.add(entry.at(key), f"is not a JSON Schema: {fault}")

    def _add_code_faults(self, entry: Entry, found: list[Fault]) -> None:
        for each in found:
            told = f"{each} (in {_place_in_code(entry, each)})"
            if each.may_run:
                self.desired.warnings.append(f"{entry.at('code')}: {told}")
            else:
                self.faults.add(entry.at("code"), told)

    def _code_faults(self, script: dict[str, Any]) -> list[Fault]:
        entries = {name: self.desired.libraries.get(name) for name in script["libraries"]}
        if script["language"] == Language.JAVASCRIPT and None in entries.values():
            # A library that only the database has may do what the script lacks.
            return script_faults(script["language"], script["code"], None)
        libraries = [
            (name, entry.values["code"] if entry else "") for name, entry in entries.items()
        ]
        return script_faults(script["language"], script["code"], libraries)

    def _read_queues(self, queues: list[Any], place: str) -> None:
        for item, where in self._entries("queues", "name", queues, place):
            if matches_schema(entry_schemas.QUEUE, item, where, self.faults):
                entry = Entry(where, completed_queue(item))
                self.desired.queues.setdefault(item["name"], entry)

    def _read_flows(self, flows: list[Any], place: str) -> None:
        readers = dict(_readers(flows))
        originals = [is_original_flow(flow) for flow in flows]
        keys = ["flowName" if original else "name" for original in originals]
        for item, where in self._entries("flows", keys, flows, place):
            if is_original_flow(item):
                entry = self._read_original_flow(item, where, readers)
            else:
                entry = self._read_flow(item, where)
            if entry is None:
                continue
            if entry.values["name"] == "*":
                self.faults.add(entry.at("name"), 'no flow can have the name "*": it means every')
            self._check_step_names(entry)
            self._check_webhook(entry)
            self.desired.flows.setdefault(entry.values["name"], entry)

    def _read_original_flow(
        self, flow: dict[str, Any], place: str, readers: dict[str, str]
    ) -> Entry | None:
        if not matches_schema(entry_schemas.ORIGINAL_FLOW, flow, place, self.faults):
            return None
        others = {queue: name for queue, name in readers.items() if name != flow["flowName"]}
        return original_flow(flow, place, others, self.faults)

    def _read_flow(self, flow: Any, place: str) -> Entry | None:
        if not matches_schema(entry_schemas.FLOW, flow, place, self.faults):
            return None
        if not self._check_schedules(flow.get("schedules", []), inside(place, "schedules")):
            return None
        values = completed_flow(flow)
        steps = [
            Entry(inside(place, "steps", index), step) for index, step in enumerate(values["steps"])
        ]
        return Entry(place, values, steps=steps)

    def _check_schedules(self, schedules: list[dict[str, Any]], place: str) -> bool:
        """Tell whether they are valid."""
        seen: set[str] = set()
        is_valid = True
        for index, schedule in enumerate(schedules):
            wrong = list(schedule_faults(schedule))
            if schedule["name"] in seen:
                wrong.append(("name", f"{quoted(schedule['name'])} stands there twice"))
            seen.add(schedule["name"])
            for key, fault in wrong:
                is_valid = False
                self.faults.add(inside(place, index, *([key] if key else [])), fault)
        return is_valid

    def _check_step_names(self, flow: Entry) -> None:
        seen: set[str] = set()
        for step in flow.steps:
            name = step.values["name"]
            if name in seen:
                self.faults.add(step.at("name"), f"the flow has two steps {quoted(name)}")
            seen.add(name)
        self._check_ways(flow)

    def _check_webhook(self, flow: Entry) -> None:
        values = flow.values
        grant = values.get("privateWebhooks", False)
        made = Flow(webhook_url=values.get("webhookUrl", ""), private_webhooks=grant)
        if fault := made.webhook_fault():
            self.faults.add(flow.at("webhookUrl"), fault)

    def _check_ways(self, flow: Entry) -> None:
        """Check that steps go to later steps alone."""
        names = [step.values["name"] for step in flow.steps]
        for position, step in enumerate(flow.steps):
            later = names[position + 1 :]
            for index, name in enumerate(step.values.get("goesTo", [])):
                if name not in later:
                    place = inside(step.at("goesTo"), index)
                    self.faults.add(place, f"the flow has no later step {quoted(name)}")

    def _read_roles(self, rbac: dict[str, Any], place: str) -> None:
        for role, rights in rbac.items():
            where = inside(place, role)
            short = isinstance(rights, list)
            self.desired.named["rbac"].add(role)
            has_name = matches_schema(entry_schemas.ROLE_NAME, role, where, self.faults)
            schema = entry_schemas.SHORT_ROLE if short else entry_schemas.ROLE
            if matches_schema(schema, rights, where, self.faults) and has_name:
                values = completed_role({"start": rights} if short else rights)
                keys = {"start": ""} if short else {}
                self.desired.roles[role] = Entry(where, values, keys)

    def _entries(
        self, section: str, keys: str | list[str], items: list[Any], place: str
    ) -> Iterator[tuple[Any, str]]:
        """Yield the entries of a list with their places. Note the names; one that is there twice is
        a fault."""
        named = self.desired.named[section]
        for index, item in enumerate(items):
            key = keys if isinstance(keys, str) else keys[index]
            where = inside(place, index)
            name = item.get(key) if isinstance(item, dict) else None
            if isinstance(name, str):
                if name in named:
                    self.faults.add(inside(where, key), f"{quoted(name)} stands there twice")
                named.add(name)
            yield item, where


def _place_in_code(entry: Entry, fault: Fault) -> str:
    """Return the name of a script or library, and its line that has the fault."""
    name, lines = quoted(entry.values["name"]), entry.values["code"].split("\n")
    line = lines[fault.line - 1].strip() if fault.line and fault.line <= len(lines) else ""
    return f"{name}: {line[:_MAX_SHOWN]}" if line else name


def _readers(flows: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield each queue that a flow of the document reads, with the flow's name."""
    for flow in flows:
        if not isinstance(flow, dict):
            continue
        original = is_original_flow(flow)
        name = flow.get("flowName" if original else "name")
        steps = flow.get("queueMappings" if original else "steps")
        for step in steps if isinstance(steps, list) else []:
            queue = (
                step.get("sourceQueueName" if original else "queue")
                if isinstance(step, dict)
                else None
            )
            if isinstance(name, str) and isinstance(queue, str):
                yield queue, name


def _plain(table: Any) -> Any:
    """Return the entry with the name of its file as a plain text, which the schema knows."""
    if isinstance(table, dict) and isinstance(table.get("file"), str):
        return table | {"file": str(table["file"])}
    return table
