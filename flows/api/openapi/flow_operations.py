"""One documented operation for each flow, with the input parameters of its first script."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from django.db.models import TextField
from django.db.models.functions import Cast
from django.urls import get_script_prefix, reverse

from flows.api.openapi.payload_schemas import as_comment, key_of, payload_components, slug
from flows.api.openapi.schemas import Schema, ref
from flows.models import Flow, Step
from scripts.protocol.schema import SchemaInvalid, compile_plain, matches
from scripts.protocol.schema_size import SchemaSize
from scripts.trials.examples import example_payload

# A name that is one in generated code as it is.
PLAIN_NAME = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")
# The most schemas that are kept as the document has them.
KEPT = 1_000
# A larger schema takes long to find an example for.
MOST_PARTS = 2_000


def add_flows(
    document: dict[str, Any], start: dict[str, Any], flow_ids: Collection[int] | None = None
) -> None:
    """Add the operation of every active flow: `start`, with a path and a payload of its own.

    `flow_ids` restricts the flows; None means all. The names of operations do not depend on it.
    """
    if flow_ids is not None and not flow_ids:
        return
    ids = operation_ids(Flow.objects.values_list("pk", "name"), _others(document))
    flows = Flow.objects.filter(active=True)
    if flow_ids is not None:
        flows = flows.filter(pk__in=flow_ids)
    schemas, prefix = _first_schemas(), get_script_prefix()
    for pk, name, description in flows.values_list("pk", "name", "description"):
        body, components = described_payload(schemas.get(pk, "{}"), f"{ids[pk]}_payload")
        document["components"]["schemas"] |= components
        operation = _operation(start, name, description, ids[pk], body)
        document["paths"][_path(name, prefix)] = {"post": operation}


def operation_ids(flows: Iterable[tuple[int, str]], others: Iterable[str] = ()) -> dict[int, str]:
    """Return a unique operationId by the flow's id, of letters, digits, _ and -.

    A plain name stays as it is. Any other one gets a part of its digest, and so does the later one
    of two plain names that generated code would not tell apart. So a new flow renames none, and a
    name that is not plain gives the same one in every installation.
    """
    ids: dict[int, str] = {}
    taken = {key_of(other) for other in others}
    for pk, name in sorted(flows, key=lambda flow: (not PLAIN_NAME.fullmatch(flow[1]), flow[0])):
        candidate = f"start_{name}"
        if not PLAIN_NAME.fullmatch(name) or key_of(candidate) in taken:
            candidate = _with_digest(name, taken)
        taken.add(key_of(candidate))
        ids[pk] = candidate
    return ids


@lru_cache(KEPT)
def described_payload(schema_text: str, component: str) -> tuple[Schema, dict[str, Schema]]:
    """Return the schema of an operation's body, and the components that it refers to."""
    schema = json.loads(schema_text)
    if not isinstance(schema, dict) or not schema:
        return ref("Payload"), {}
    components = payload_components(schema, component)
    example = _example(schema, schema_text)
    if example is not None:
        components[component]["examples"] = [example]
    return ref(component), components


def _others(document: dict[str, Any]) -> list[str]:
    return [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]


def _with_digest(name: str, taken: set[str]) -> str:
    digest = sha256(name.encode()).hexdigest()
    parts = ["start", slug(name)]
    length = 6
    while key_of("_".join([*parts, digest[:length]])) in taken:
        length += 1
    return "_".join(part for part in [*parts, digest[:length]] if part)


def _first_schemas() -> dict[int, str]:
    """Return the input schema of the first step by the flow's id, as it is stored: as text."""
    text = Cast("script__input_schema", TextField())
    steps = Step.objects.order_by("flow", "-position", "-id").values_list("flow", text)
    return dict(steps)


@lru_cache(KEPT)
def _path(name: str, prefix: str) -> str:
    # Some generators write it between quotes, and let them be.
    path = reverse("api:flow-start", args=[name]).removeprefix(prefix)
    return quote(f"/{path}", safe="/%~:@")


def _operation(
    start: dict[str, Any], name: str, description: str, operation_id: str, body: Schema
) -> Schema:
    return {
        **start,
        "operationId": operation_id,
        "tags": ["flows"],
        "summary": as_comment(f"Start a run of {name}"),
        "description": as_comment(description or start["description"]),
        "parameters": [p for p in start["parameters"] if p.get("name") != "flowName"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
    }


def _example(schema: Schema, text: str) -> Any:
    """Return a payload that matches the schema; None if it takes more to find one."""
    size = SchemaSize.of(text)
    if not size.is_plain or size.expansion > MOST_PARTS:
        return next(iter(schema.get("examples", [])), None)
    example = example_payload(schema)
    try:
        is_valid = matches(compile_plain(text), example)
    except SchemaInvalid:
        return None
    return example if is_valid and isinstance(example, dict) else None
