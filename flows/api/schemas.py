"""The shapes in the OpenAPI document, as JSON Schema."""

from __future__ import annotations

from typing import Any

from flows.api.errors import KINDS, TYPE_BASE
from flows.models import Right, Run, StepRun
from flows.trace import PENDING

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
CORRELATION_ID: Schema = {"type": "string", "format": "uuid", "description": "A UUIDv7."}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def listed(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def record(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """Return the schema of an object; all properties are there but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **more}


PROBLEM = record(
    {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "enum": [TYPE_BASE + word for word in KINDS],
            "description": "Ends in a fixed word for the cause.",
        },
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "errors": listed(
            record(
                {
                    "path": {"type": "string", "description": "Where in the body: a JSON path."},
                    "parameter": {"type": "string", "description": "Which query parameter."},
                    "detail": TEXT,
                },
                optional=("path", "parameter"),
            )
        ),
    },
    optional=("errors",),
    description="Problem details, RFC 9457.",
)

STARTED = record(
    {
        "correlationId": CORRELATION_ID,
        "flowName": TEXT,
        "status": {"type": "string", "const": Run.Status.QUEUED.value},
        "statusUrl": {"type": "string", "format": "uri"},
    }
)

ATTEMPT = record(
    {
        "attempt": {"type": "integer", "minimum": 1},
        "startedAt": TIME,
        "finishedAt": TIME,
        "outcome": {"type": "string", "enum": StepRun.Outcome.values},
        "error": TEXT_OR_NULL,
        "logs": listed({}),
    },
    description="One delivery of the message to the step's script.",
)

STEP_TRACE = record(
    {
        "name": TEXT,
        "queueName": TEXT,
        "scriptName": TEXT,
        "scriptVersion": {"type": "integer", "minimum": 1},
        "status": {
            "type": "string",
            "enum": [PENDING, *Run.Status.values],
            "description": f"{PENDING}: the run has not come to it.",
        },
        "deliveries": COUNT,
        "startedAt": TIME_OR_NULL,
        "finishedAt": TIME_OR_NULL,
        "error": TEXT_OR_NULL,
        "attempts": listed(ref("Attempt")),
    }
)

RUN = record(
    {
        "correlationId": CORRELATION_ID,
        "flowName": TEXT,
        "flowVersion": {"type": "integer", "minimum": 1},
        "status": {"type": "string", "enum": Run.Status.values},
        "currentStep": {
            "type": ["string", "null"],
            "description": "Where it is or ended; null when completed.",
        },
        "createdAt": TIME,
        "startedAt": TIME_OR_NULL,
        "finishedAt": TIME_OR_NULL,
        "result": {"description": "The output of the last step: any JSON value."},
        "error": TEXT_OR_NULL,
        "warnings": COUNT,
        "steps": listed(ref("StepTrace")),
    },
    description="One execution of a flow.",
)

FLOW_STEP = record(
    {
        "name": TEXT,
        "scriptName": TEXT,
        "queueName": TEXT,
        "threads": {"type": "integer", "minimum": 1},
    }
)

FLOW = record(
    {
        "name": TEXT,
        "description": TEXT,
        "active": {"type": "boolean"},
        "version": {
            "type": ["integer", "null"],
            "description": "The latest; null until it is first started.",
        },
        "steps": listed(ref("FlowStep")),
        "inputSchema": {"description": "JSON Schema of the payload; empty: any object."},
        "startUrl": {"type": "string", "format": "uri"},
        "rights": listed({"type": "string", "enum": Right.values}),
    }
)

FLOW_PAGE = record(
    {"results": listed(ref("Flow")), "next": {"type": ["string", "null"], "format": "uri"}}
)

TOKEN = record(
    {
        "accessToken": TEXT,
        "tokenType": {"type": "string", "const": "Bearer"},
        "expiresIn": {"type": "integer", "description": "Seconds."},
    }
)

CREDENTIALS = record({"userName": TEXT, "password": {"type": "string", "format": "password"}})

PAYLOAD: Schema = {
    "type": "object",
    "description": "Any JSON object that matches the input parameters of the first script.",
}


def health(word: str) -> Schema:
    return record({"status": {"type": "string", "const": word}})


COMPONENTS: dict[str, Schema] = {
    "Attempt": ATTEMPT,
    "Credentials": CREDENTIALS,
    "Flow": FLOW,
    "FlowPage": FLOW_PAGE,
    "FlowStep": FLOW_STEP,
    "Payload": PAYLOAD,
    "Problem": PROBLEM,
    "Run": RUN,
    "Started": STARTED,
    "StepTrace": STEP_TRACE,
    "Token": TOKEN,
}
