"""One documented operation for each flow, with the input parameters of its first script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

import jsonschema_rs
from django.db.models import Prefetch, QuerySet
from django.urls import reverse

from flows.api.openapi.schemas import PAYLOAD, Schema, ref
from flows.front.public_address import inner_path
from flows.models import Flow, Step

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Keywords whose value has schemas under names of the author's own.
NAMING_KEYWORDS = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)
# Keywords whose value is data, in which nothing is a reference.
DATA_KEYWORDS = frozenset({"const", "enum", "default", "examples"})


class NotEmbeddable(Exception):
    """The schema refers to something that the document does not have."""


def add_flows(
    document: dict[str, Any], start: dict[str, Any], flow_ids: Collection[int] | None = None
) -> None:
    """Add the operation of every active flow: `start`, with a path and a payload of its own.

    `flow_ids` restricts the flows; None means all. The names of components do not depend on it.
    """
    if flow_ids is not None and not flow_ids:
        return
    active = Flow.objects.filter(active=True)
    names = component_names(active.values_list("pk", "name"))
    for flow in _with_first_scripts(active if flow_ids is None else active.filter(pk__in=flow_ids)):
        # The unchanged name of the flow: callers know it without looking it up.
        operation_id = f"start_{flow.name}"
        component = f"{names[flow.pk]}_payload"
        steps = flow.steps.all()
        schema = steps[0].script.input_schema if steps else {}
        document["components"]["schemas"][component] = embedded(schema, component)
        path = inner_path(reverse("api:flow-start", args=[flow.name]))
        path = path.replace("{", "%7B").replace("}", "%7D")
        document["paths"][path] = {"post": _operation(start, flow, operation_id, component)}


def component_names(flows: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Return a unique component name by the flow's id, of letters, digits and _.

    A flow whose name needs no change keeps it. If other names become equal, the later flows get
    their id as a suffix, so that a new flow renames none.
    """
    ids: dict[int, str] = {}
    taken: set[str] = set()
    for pk, name in sorted(flows, key=lambda flow: (slug(flow[1]) != flow[1], flow[0])):
        candidate = f"start_{slug(name) or pk}"
        if candidate.lower() in taken:
            candidate = f"{candidate}_{pk}"
        taken.add(candidate.lower())
        ids[pk] = candidate
    return ids


def slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")


def embedded(schema: Any, component: str) -> Schema:
    """Return a JSON Schema as a component of the document, with adapted references.

    A schema that cannot be a component (keywords of an older draft, references to other documents
    or to nothing) is left out, so that the document stays valid.
    """
    if not isinstance(schema, dict) or not schema:
        return dict(PAYLOAD)
    own = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    try:
        jsonschema_rs.meta.validate({"$schema": DIALECT, **own})
        return _moved(own, own, f"#/components/schemas/{component}")
    except (NotEmbeddable, jsonschema_rs.ValidationError, RecursionError):
        return {**PAYLOAD, "description": "Matches the input parameters of the first script."}


def _with_first_scripts(flows: QuerySet[Flow]) -> QuerySet[Flow]:
    steps = Step.objects.order_by("position", "id").select_related("script")
    return flows.prefetch_related(Prefetch("steps", steps))


def _operation(
    start: dict[str, Any], flow: Flow, operation_id: str, component: str
) -> dict[str, Any]:
    return {
        **start,
        "operationId": operation_id,
        "tags": ["flows"],
        "summary": f"Start a run of {flow.name}",
        "description": flow.description or start["description"],
        "parameters": [p for p in start["parameters"] if p.get("name") != "flowName"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(component)}},
        },
    }


def _moved(node: Any, root: Schema, base: str) -> Any:
    """Return the schema with its references adapted to its place in the document."""
    if isinstance(node, list):
        return [_moved(item, root, base) for item in node]
    if not isinstance(node, dict):
        return node
    if "$id" in node or "$dynamicRef" in node:
        raise NotEmbeddable
    return {key: _moved_value(key, value, root, base) for key, value in node.items()}


def _moved_value(key: str, value: Any, root: Schema, base: str) -> Any:
    if key == "$ref" and isinstance(value, str):
        return _moved_reference(value, root, base)
    if key in DATA_KEYWORDS:
        return value
    if key in NAMING_KEYWORDS and isinstance(value, dict):
        return {name: _moved(schema, root, base) for name, schema in value.items()}
    return _moved(value, root, base)


def _moved_reference(reference: str, root: Schema, base: str) -> str:
    if reference != "#" and not reference.startswith("#/"):
        raise NotEmbeddable
    target: Any = root
    for part in reference[2:].split("/") if len(reference) > 2 else []:
        target = target.get(_unescaped(part)) if isinstance(target, dict) else None
    if not isinstance(target, dict | bool):
        raise NotEmbeddable
    return base + reference[1:]


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
