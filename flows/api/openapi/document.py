"""The OpenAPI document: a public part, and the flows that the caller may start.

A process makes the public part once. It makes the whole once for each configuration revision and
each set of flows, and keeps the bytes that are sent.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import orjson
import yaml
from django.urls import get_urlconf
from drf_spectacular.generators import SchemaGenerator
from yaml import CSafeDumper

from flows.access.rights import Caller, rights_by_flow
from flows.api.framework import specified
from flows.api.openapi.flow_operations import add_flows
from flows.api.openapi.information import HERE, INFO, TAGS
from flows.api.openapi.schemas import COMPONENTS
from flows.api.pages import PAGE_PARAMETERS
from flows.front.documentation import public_documentation
from flows.models import ConfigurationRevision, Right
from scripts.protocol.numerals import dumps

START_PATH = "/async/api/start"
LETTER_PATH, PAUSE_PATH = "/async/api/dead-letters/{id}", "/async/api/queues/{name}/pause"
NEED_A_BODY = {
    *("startProcess", "startBatch", "reprocessDeadLetters", "cancelRuns", "erasePayloads"),
    "setSchedule",
}
# The most documents that a process keeps. One has about 100 kB.
KEPT = 64

Document = dict[str, Any]
# None: all flows.
FlowIds = frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A document as it is sent, with its ETag."""

    body: bytes
    etag: str


def document_for(user: Caller, render: Callable[[Document], bytes]) -> Rendered:
    """Return the document with an operation for each active flow that the user may start."""
    flow_ids = _startable(user)
    # Without a flow the document is the same in every revision.
    revision = "" if flow_ids == frozenset() else ConfigurationRevision.current()
    return documents.get(revision, flow_ids, render)


def as_json(document: Document) -> bytes:
    return dumps(document)


def as_yaml(document: Document) -> bytes:
    # A copy without shared parts: YAML would write the second occurrence as a reference.
    separate = json.loads(dumps(document))
    text: str = yaml.dump(separate, Dumper=CSafeDumper, allow_unicode=True, sort_keys=False)
    return text.encode()


class Documents:
    """The documents that were requested last. One thread makes a document; the others wait for
    it."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: OrderedDict[Any, Rendered] = OrderedDict()

    def get(
        self, revision: str, flow_ids: FlowIds, render: Callable[[Document], bytes]
    ) -> Rendered:
        key = (revision, flow_ids, render)
        with self._lock:
            rendered = self._kept.pop(key, None) or self._make(flow_ids, render)
            self._kept[key] = rendered
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return rendered

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def _make(self, flow_ids: FlowIds, render: Callable[[Document], bytes]) -> Rendered:
        document = orjson.loads(_public_part())
        add_flows(document, document["paths"][START_PATH]["post"], flow_ids)
        body = render(document)
        return Rendered(body, f'"{hashlib.sha256(body).hexdigest()}"')


documents = Documents()


def _startable(user: Caller) -> FlowIds:
    rights = rights_by_flow(user)
    if Right.START in rights[None]:
        return None
    return frozenset(pk for pk, given in rights.items() if pk and Right.START in given)


@cache
def _public_part() -> bytes:
    # The operations of these addresses: a project may have others.
    generator = SchemaGenerator(urlconf=get_urlconf())
    with specified():
        return orjson.dumps(generator.get_schema(request=None, public=True))


def complete(result: Document, **kwargs: Any) -> Document:
    """Add the shapes, and state what is repeated once (drf-spectacular's POSTPROCESSING_HOOKS)."""
    result["info"] |= INFO
    result["servers"] = result.get("servers") or [HERE]
    result["tags"] = TAGS
    if address := public_documentation():
        result["externalDocs"] = {"url": address, "description": "Documentation"}
    result["components"].setdefault("schemas", {}).update(COMPONENTS)
    start = result["paths"][START_PATH]["post"]
    for methods in result["paths"].values():
        for operation in methods.values():
            operation.setdefault("security", [])
            if operation["operationId"] in NEED_A_BODY:
                operation["requestBody"]["required"] = True
    # Its body is optional, and drf-spectacular gives no DELETE one.
    paths = result["paths"]
    paths[LETTER_PATH]["delete"]["requestBody"] = paths[PAUSE_PATH]["post"]["requestBody"]
    share_headers(result)
    share_responses(result)
    share_parameters(result, start)
    return result


def share_headers(document: Document) -> None:
    """Move the headers of answers to the components, so that each is there once."""
    shared: dict[str, Any] = document["components"].setdefault("headers", {})
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                for name, header in response.get("headers", {}).items():
                    kept = _kept_as(shared, name, header)
                    response["headers"][name] = {"$ref": f"#/components/headers/{kept}"}


def share_responses(document: Document) -> None:
    """Move the refusals, and the answers of a start, to the components, so that each is there
    once."""
    shared: dict[str, Any] = document["components"].setdefault("responses", {})
    for path in sorted(document["paths"], key=lambda path: path != START_PATH):
        for operation in document["paths"][path].values():
            for status, response in operation["responses"].items():
                name = _known_as(shared, response)
                if not name and (status >= "400" or path == START_PATH):
                    name = _kept_as(shared, _name_of(response), response)
                if name:
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def share_parameters(document: Document, start: dict[str, Any]) -> None:
    """Move the parameters that all starts have, and those of all lists, to the components."""
    shared: dict[str, Any] = document["components"].setdefault("parameters", {})
    shared |= {_component(each): each for each in start["parameters"] if each["name"] != "flowName"}
    for methods in document["paths"].values():
        for operation in methods.values():
            parameters = operation.get("parameters", [])
            for position, parameter in enumerate(parameters):
                name = _component(parameter)
                if name in PAGE_PARAMETERS:
                    shared.setdefault(name, parameter)
                if shared.get(name) == parameter:
                    parameters[position] = {"$ref": f"#/components/parameters/{name}"}


def _component(parameter: dict[str, Any]) -> str:
    return str(parameter["name"]).replace("-", "")


def _name_of(response: dict[str, Any]) -> str:
    """Return the name of a response, made of its examples, which have the names of problem
    types."""
    [content] = response["content"].values()
    name = "Or".join(content["examples"])
    return "RunStarted" if name == "Answer" else name


def _known_as(shared: dict[str, Any], response: dict[str, Any]) -> str:
    """Return the name of a response that differs by the order of its examples alone, or ""."""
    same = (
        name
        for name, each in shared.items()
        if each["content"] == response.get("content")
        and each.get("headers") == response.get("headers")
    )
    return next(same, "")


def _kept_as(shared: dict[str, Any], name: str, part: dict[str, Any]) -> str:
    """Keep a response or header under the name, or under a numbered one if another has it."""
    candidate, number = name, 1
    while shared.setdefault(candidate, part) != part:
        number += 1
        candidate = f"{name}{number}"
    return candidate
