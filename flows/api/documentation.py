"""What the OpenAPI document says of each operation: the arguments of `extend_schema`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from flows.api.errors import CONTENT_TYPE, KINDS, TYPE_BASE
from flows.api.schemas import health, ref

RUN_ID = "01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e"
STATUS_URL = f"http://localhost:8000/async/api/runs/{RUN_ID}"

# What every operation behind a login may answer.
GUARDED = ("not-authenticated", "query-invalid", "database-unavailable")

QUERY: Literal["query"] = "query"
HEADER: Literal["header"] = "header"
PATH: Literal["path"] = "path"


def refusals(*words: str) -> dict[tuple[int, str], OpenApiResponse]:
    """Document the refusals, one response a status."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for word in words:
        by_status[KINDS[word].status].append(word)
    return {
        (status, CONTENT_TYPE): OpenApiResponse(
            ref("Problem"),
            description="\n".join(f"- `{word}`: {KINDS[word].title}" for word in of_status),
            examples=[_problem_example(word) for word in of_status],
        )
        for status, of_status in sorted(by_status.items())
    }


def _problem_example(word: str) -> OpenApiExample:
    kind = KINDS[word]
    document = {
        "type": TYPE_BASE + word,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title,
    }
    return OpenApiExample(word, value=document)


def _answer(description: str, schema: dict[str, Any], example: Any = None) -> OpenApiResponse:
    examples = [] if example is None else [OpenApiExample("answer", value=example)]
    return OpenApiResponse(schema, description=description, examples=examples)


def _answered_header(name: str, type_: Any, description: str, *on: int) -> OpenApiParameter:
    return OpenApiParameter(name, type_, HEADER, response=list(on), description=description)


CHALLENGE = _answered_header("WWW-Authenticate", str, "How to log in.", 401)
RETRY_AFTER = "Seconds after which to try again."

STARTED = {
    "correlationId": RUN_ID,
    "flowName": "loan-application",
    "status": "QUEUED",
    "statusUrl": STATUS_URL,
}

START: dict[str, Any] = {
    "operation_id": "startProcess",
    "tags": ["runs"],
    "summary": "Start a run of a flow",
    "description": (
        "Stores the payload in the first queue of the flow. The answer comes once it is stored;"
        " the run then goes on by itself. With an `Idempotency-Key` the same call made again"
        " within a day answers with the run that the first one started."
    ),
    "parameters": [
        OpenApiParameter("flowName", str, QUERY, required=True, description="The flow's name."),
        OpenApiParameter(
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7e]+$"},
            HEADER,
            description="The caller's name for this start.",
        ),
        _answered_header("Location", OpenApiTypes.URI, "Where the run is to be seen.", 202),
        _answered_header("Retry-After", int, RETRY_AFTER, 429, 503),
        CHALLENGE,
    ],
    "request": {"application/json": ref("Payload")},
    "responses": {
        (202, "application/json"): _answer("The run is stored.", ref("Started"), STARTED),
        **refusals(
            "payload-invalid",
            "header-invalid",
            *GUARDED,
            "no-role",
            "csrf-failed",
            "unknown-flow",
            "flow-not-runnable",
            "idempotency-conflict",
            "payload-too-large",
            "unsupported-media-type",
            "queue-full",
            "not-acceptable",
        ),
    },
}

RUN = {
    "correlationId": RUN_ID,
    "flowName": "loan-application",
    "flowVersion": 3,
    "status": "COMPLETED",
    "currentStep": None,
    "createdAt": "2026-11-02T09:30:00.120000Z",
    "startedAt": "2026-11-02T09:30:00.131000Z",
    "finishedAt": "2026-11-02T09:30:00.164000Z",
    "result": {"correlationId": RUN_ID, "payload": {"decision": "accepted"}},
    "error": None,
    "warnings": 0,
    "steps": [
        {
            "name": "decide",
            "queueName": "decisions",
            "scriptName": "decide",
            "scriptVersion": 7,
            "status": "COMPLETED",
            "deliveries": 1,
            "startedAt": "2026-11-02T09:30:00.131000Z",
            "finishedAt": "2026-11-02T09:30:00.133000Z",
            "error": None,
            "attempts": [
                {
                    "attempt": 1,
                    "startedAt": "2026-11-02T09:30:00.131000Z",
                    "finishedAt": "2026-11-02T09:30:00.133000Z",
                    "outcome": "COMPLETED",
                    "error": None,
                    "logs": [],
                }
            ],
        }
    ],
}

GET_RUN: dict[str, Any] = {
    "operation_id": "getRun",
    "tags": ["runs"],
    "summary": "See a run, or wait for its end",
    "description": (
        "The run with its steps and their attempts. With `wait` the answer comes at the end of"
        " the run, or after so many seconds; a wait of more than 60 seconds counts as 60."
    ),
    "parameters": [
        OpenApiParameter("id", OpenApiTypes.UUID, PATH, description="The correlation id."),
        OpenApiParameter(
            "wait", {"type": "number", "minimum": 0}, QUERY, description="Seconds to wait."
        ),
        _answered_header("Retry-After", int, RETRY_AFTER, 503),
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): _answer("The run.", ref("Run"), RUN),
        **refusals(*GUARDED, "no-role", "not-found", "not-acceptable"),
    },
}

LIST_FLOWS: dict[str, Any] = {
    "operation_id": "listFlows",
    "tags": ["flows"],
    "summary": "List the flows that the caller may start or watch",
    "parameters": [
        OpenApiParameter("cursor", str, QUERY, description="From the `next` of a page."),
        _answered_header("Retry-After", int, RETRY_AFTER, 503),
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): _answer("A page of flows, by name.", ref("FlowPage")),
        **refusals(*GUARDED, "not-acceptable"),
    },
}

GET_FLOW: dict[str, Any] = {
    "operation_id": "getFlow",
    "tags": ["flows"],
    "summary": "See a flow",
    "parameters": [
        OpenApiParameter("name", str, PATH, description="The flow's name."),
        _answered_header("Retry-After", int, RETRY_AFTER, 503),
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): _answer("The flow.", ref("Flow")),
        **refusals(*GUARDED, "no-role", "unknown-flow", "not-acceptable"),
    },
}

CREATE_TOKEN: dict[str, Any] = {
    "operation_id": "createToken",
    "tags": ["auth"],
    "summary": "Make a bearer token",
    "description": (
        "By user name and password in the body, or, without a body, by HTTP Basic. Credentials in"
        " the body count whatever the Authorization header says."
    ),
    "auth": [{"basicAuth": []}, {}],
    "parameters": [
        CHALLENGE,
        _answered_header("Retry-After", int, RETRY_AFTER, 503),
    ],
    "request": {"application/json": ref("Credentials")},
    "responses": {
        (200, "application/json"): _answer("The token; it is shown this once.", ref("Token")),
        **refusals(
            "payload-invalid",
            "query-invalid",
            "not-authenticated",
            "payload-too-large",
            "unsupported-media-type",
            "database-unavailable",
            "not-acceptable",
        ),
    },
}

IS_LIVE: dict[str, Any] = {
    "operation_id": "isLive",
    "tags": ["health"],
    "summary": "Does the process answer?",
    "auth": [],
    "responses": {
        (200, "application/json"): _answer("It does.", health("live")),
        **refusals("query-invalid", "not-acceptable"),
    },
}

IS_READY: dict[str, Any] = {
    "operation_id": "isReady",
    "tags": ["health"],
    "summary": "Can starts be taken?",
    "description": "Ready is a process whose database answers and has every migration.",
    "auth": [],
    "parameters": [_answered_header("Retry-After", int, RETRY_AFTER, 503)],
    "responses": {
        (200, "application/json"): _answer("They can.", health("ready")),
        **refusals("query-invalid", "database-unavailable", "not-ready", "not-acceptable"),
    },
}
