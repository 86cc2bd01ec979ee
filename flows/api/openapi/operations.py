"""What the OpenAPI document says of each operation: the arguments of `extend_schema`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from flows.api.errors import CONTENT_TYPE, KINDS, TYPE_BASE
from flows.api.openapi.schemas import LIVE, READY, ref
from flows.models import DeadLetter, Run
from flows.models.message import DEFAULT_PRIORITY

RUN_ID = "01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e"
STATUS_URL = f"http://localhost:8000/async/api/runs/{RUN_ID}"

# What an operation that takes a body may answer.
RECEIVED = ("body-incomplete", "body-too-slow", "overloaded")

# What every operation behind a login may answer.
GUARDED = ("not-authenticated", "too-many-logins", "query-invalid", "database-unavailable")

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


def answer(description: str, schema: dict[str, Any], example: Any = None) -> OpenApiResponse:
    examples = [] if example is None else [OpenApiExample("answer", value=example)]
    return OpenApiResponse(schema, description=description, examples=examples)


def answered_header(name: str, type_: Any, description: str, *on: int) -> OpenApiParameter:
    return OpenApiParameter(name, type_, HEADER, response=list(on), description=description)


CHALLENGE = answered_header("WWW-Authenticate", str, "How to log in.", 401)
RETRY_AFTER = "Seconds after which to try again."

WAITED = answered_header("Retry-After", int, RETRY_AFTER, 429, 503)
CURSOR = OpenApiParameter("cursor", str, QUERY, description="From the `next` of a page.")


def _filter(name: str, description: str, type_: Any = str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, type_, QUERY, description=description, **more)


FLOW_NAME = _filter("flowName", "The flow's name.", required=True)
OF_FLOW = _filter("flowName", "Those of this flow alone.")
START_OPTIONS = [
    _filter(
        "priority",
        "Of the messages that wait in a queue those of a higher priority go first.",
        {"type": "integer", "minimum": 0, "maximum": 9, "default": DEFAULT_PRIORITY},
    ),
    _filter(
        "startAt",
        "Before this time the run waits. It may be ASYNCENGINE_MAX_DELAY_DAYS from now at the most,"
        " 400 unless set. A queue takes as many delayed starts as its size beside its messages.",
        OpenApiTypes.DATETIME,
    ),
]

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
        FLOW_NAME,
        *START_OPTIONS,
        OpenApiParameter(
            "Idempotency-Key",
            {
                "type": "string",
                "minLength": 1,
                "maxLength": 255,
                "pattern": "^[\\x20-\\x2b\\x2d-\\x7e]+$",
            },
            HEADER,
            description="The caller's name for this start.",
        ),
        answered_header(
            "Idempotent-Replayed", str, "`true`: the run was started by an earlier call.", 202
        ),
        answered_header("Location", OpenApiTypes.URI, "Where the run is to be seen.", 202),
        answered_header("Retry-After", int, RETRY_AFTER, 429, 503, 504),
        CHALLENGE,
    ],
    "request": {"application/json": ref("Payload")},
    "responses": {
        (202, "application/json"): answer("The run is stored.", ref("Started"), STARTED),
        **refusals(
            "payload-invalid",
            "header-invalid",
            *GUARDED,
            "no-role",
            "csrf-failed",
            "unknown-flow",
            "flow-not-runnable",
            "busy",
            "idempotency-conflict",
            *RECEIVED,
            "payload-too-large",
            "unsupported-media-type",
            "queue-full",
            "outcome-unknown",
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
    "waitingBecause": None,
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
                    "branch": None,
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

START_BATCH: dict[str, Any] = {
    "operation_id": "startBatch",
    "tags": ["runs"],
    "summary": "Start many runs of a flow",
    "description": (
        "A run for each line of NDJSON, or for each element of a JSON array. They are read, checked"
        " and stored in chunks while they come, so a batch may be of any length; each payload is"
        " held to the limit of a single start. A payload that is refused is answered with its"
        " line, counted from 1 and with the empty ones, or with its place in the array; the others"
        " are started, in their order. Where the queue is full, or the database is lost, the batch"
        " stops: the last refusal says why, and `nextLine` where to go on after `Retry-After`."
        " After `outcome-unknown` that line and some behind it may be stored. What was accepted"
        " stays so, also where the connection breaks."
    ),
    "parameters": [
        FLOW_NAME,
        *START_OPTIONS,
        answered_header("Retry-After", int, RETRY_AFTER, 202, 429, 503, 504),
        CHALLENGE,
    ],
    "request": {
        # JSON first: generators of clients take the first.
        "application/json": {"type": "array", "items": ref("Payload")},
        "application/x-ndjson": {"type": "string", "description": "A payload a line."},
    },
    "responses": {
        (202, "application/json"): answer(
            "What was accepted is stored.",
            ref("BatchStarted"),
            {
                "accepted": 1,
                "rejected": [
                    {
                        "line": 2,
                        "type": f"{TYPE_BASE}payload-invalid",
                        "detail": "The payload must be a JSON object.",
                    },
                    {
                        "line": 3,
                        "type": f"{TYPE_BASE}queue-full",
                        "detail": "The first queue of the flow is full.",
                    },
                ],
                "correlationIds": [RUN_ID],
                "nextLine": 3,
            },
        ),
        **refusals(
            "payload-invalid",
            "header-invalid",
            *GUARDED,
            "no-role",
            "csrf-failed",
            "unknown-flow",
            "flow-not-runnable",
            "busy",
            *RECEIVED,
            "unsupported-media-type",
            "queue-full",
            "outcome-unknown",
            "not-acceptable",
        ),
    },
}

GET_RUN: dict[str, Any] = {
    "operation_id": "getRun",
    "tags": ["runs"],
    "summary": "See a run, or wait for its end",
    "description": (
        "The run with its steps and their attempts. With `wait` the answer comes at the end of"
        " the run, or after so many seconds; a wait of more than 60 seconds counts as 60. A user"
        " may have some hundred waits at a time; a wait beyond them is refused with 429."
    ),
    "parameters": [
        OpenApiParameter("id", OpenApiTypes.UUID, PATH, description="The correlation id."),
        OpenApiParameter(
            "wait", {"type": "number", "minimum": 0}, QUERY, description="Seconds to wait."
        ),
        WAITED,
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): answer("The run.", ref("Run"), RUN),
        **refusals(*GUARDED, "not-found", "too-many-waiting", "not-acceptable"),
    },
}

RUN_SUMMARY = {
    name: value for name, value in RUN.items() if name not in {"result", "waitingBecause", "steps"}
}

LIST_RUNS: dict[str, Any] = {
    "operation_id": "listRuns",
    "tags": ["runs"],
    "summary": "List runs, the newest first",
    "description": (
        "Those that the caller may see: all of the flows that the caller watches or operates, own"
        " ones of those that the caller may start. In a large system give the times as well:"
        " they bound what has to be looked through for a status that few runs have."
    ),
    "parameters": [
        OF_FLOW,
        _filter("status", "Those in this status alone.", str, enum=Run.Status.values),
        _filter("createdAfter", "At this time or later.", OpenApiTypes.DATETIME),
        _filter("createdBefore", "Before this time.", OpenApiTypes.DATETIME),
        CURSOR,
        WAITED,
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): answer(
            "A page of runs.", ref("RunPage"), {"results": [RUN_SUMMARY], "next": None}
        ),
        **refusals(*GUARDED, "not-acceptable"),
    },
}

CANCEL_RUN: dict[str, Any] = {
    "operation_id": "cancelRun",
    "tags": ["runs"],
    "summary": "Cancel a run",
    "description": (
        "A waiting message leaves its queue at once; a script at work is stopped soon after. A run"
        " that has failed and goes on with other branches is cancelled, too, and its dead letters"
        " are discarded. A run that has ended stays as it is, and is the answer. It takes the right"
        " to operate the flow, or to start it where the run is an own one."
    ),
    "parameters": [
        OpenApiParameter("id", OpenApiTypes.UUID, PATH, description="The correlation id."),
        WAITED,
        CHALLENGE,
    ],
    "request": None,
    "responses": {
        (200, "application/json"): answer("The run.", ref("Run")),
        **refusals(*GUARDED, "no-role", "csrf-failed", "not-found", "not-acceptable"),
    },
}

QUEUE = {
    "name": "decisions",
    "size": 10000,
    "depth": 120,
    "running": 4,
    "delayed": 3,
    "deadLetters": 1,
    "oldestAgeSeconds": 2.416,
    "paused": False,
    "ratePerSecond": None,
    "waitingBecause": "All threads are busy, 4 of 4.",
}

LIST_QUEUES: dict[str, Any] = {
    "operation_id": "listQueues",
    "tags": ["queues"],
    "summary": "List the queues of the flows that the caller watches or operates",
    "parameters": [CURSOR, WAITED, CHALLENGE],
    "responses": {
        (200, "application/json"): answer(
            "A page of queues, by name.", ref("QueuePage"), {"results": [QUEUE], "next": None}
        ),
        **refusals(*GUARDED, "not-acceptable"),
    },
}


def _of_a_queue(operation_id: str, summary: str, description: str, *words: str) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "tags": ["queues"],
        "summary": summary,
        "description": description,
        "parameters": [
            OpenApiParameter("name", str, PATH, description="The queue's name."),
            WAITED,
            CHALLENGE,
        ],
        "request": None,
        "responses": {
            (200, "application/json"): answer("The queue.", ref("Queue"), QUEUE),
            **refusals(*GUARDED, *words, "unknown-queue", "not-acceptable"),
        },
    }


GET_QUEUE = _of_a_queue(
    "getQueue",
    "See a queue",
    "It takes the right to watch or operate the flow of which the queue feeds a step.",
)
PAUSE_QUEUE = _of_a_queue(
    "pauseQueue",
    "Pause a queue",
    "Its messages wait; what is at a script goes on. A paused queue stays as it is.",
    "no-role",
    "csrf-failed",
)
RESUME_QUEUE = _of_a_queue(
    "resumeQueue",
    "Resume a queue",
    "Its messages are handed out again. A queue that is not paused stays as it is.",
    "no-role",
    "csrf-failed",
)

LIST_DEAD_LETTERS: dict[str, Any] = {
    "operation_id": "listDeadLetters",
    "tags": ["dead letters"],
    "summary": "List the open dead letters, the newest first",
    "description": (
        "Those that were neither reprocessed nor discarded, of the flows that the caller watches"
        " or operates. A page ends early where the messages are large."
    ),
    "parameters": [
        OF_FLOW,
        _filter("queue", "Those of the step that this queue feeds."),
        _filter("reason", "Those for this reason alone.", str, enum=DeadLetter.Reason.values),
        CURSOR,
        WAITED,
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): answer("A page of dead letters.", ref("DeadLetterPage")),
        **refusals(*GUARDED, "not-acceptable"),
    },
}

DEAD_LETTER_ID = OpenApiParameter("id", int, PATH, description="The dead letter's id.")

REPROCESS_DEAD_LETTER: dict[str, Any] = {
    "operation_id": "reprocessDeadLetter",
    "tags": ["dead letters"],
    "summary": "Put a dead letter back at the step where it failed",
    "description": (
        "The run goes on there; earlier steps are not run again. Without a body the message"
        " is put back as it was, for the script that the run has."
    ),
    "parameters": [
        DEAD_LETTER_ID,
        answered_header("Location", OpenApiTypes.URI, "Where the run is to be seen.", 202),
        answered_header("Retry-After", int, RETRY_AFTER, 429, 503, 504),
        CHALLENGE,
    ],
    "request": {"application/json": ref("Reprocessing")},
    "responses": {
        (202, "application/json"): answer(
            "The message is in its queue.", ref("Reprocessed"), {**STARTED, "status": "RUNNING"}
        ),
        **refusals(
            "payload-invalid",
            *GUARDED,
            "no-role",
            "csrf-failed",
            "not-found",
            "already-reprocessed",
            "flow-not-runnable",
            "busy",
            *RECEIVED,
            "payload-too-large",
            "unsupported-media-type",
            "queue-full",
            "outcome-unknown",
            "not-acceptable",
        ),
    },
}

DISCARD_DEAD_LETTER: dict[str, Any] = {
    "operation_id": "discardDeadLetter",
    "tags": ["dead letters"],
    "summary": "Give a dead letter up",
    "description": (
        "Its run stays failed. A run with branches goes on without this one where another dead"
        " letter of it was reprocessed and none is open any more; 429 says that the queue of the"
        " step where its branches meet is full."
    ),
    "parameters": [DEAD_LETTER_ID, WAITED, CHALLENGE],
    "responses": {
        204: OpenApiResponse(description="It is discarded."),
        **refusals(
            *GUARDED,
            "no-role",
            "csrf-failed",
            "not-found",
            "already-reprocessed",
            "queue-full",
            "not-acceptable",
        ),
    },
}

LIST_FLOWS: dict[str, Any] = {
    "operation_id": "listFlows",
    "tags": ["flows"],
    "summary": "List the flows that the caller may start or watch",
    "parameters": [
        CURSOR,
        WAITED,
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): answer("A page of flows, by name.", ref("FlowPage")),
        **refusals(*GUARDED, "not-acceptable"),
    },
}

GET_FLOW: dict[str, Any] = {
    "operation_id": "getFlow",
    "tags": ["flows"],
    "summary": "See a flow",
    "parameters": [
        OpenApiParameter("name", str, PATH, description="The flow's name."),
        WAITED,
        CHALLENGE,
    ],
    "responses": {
        (200, "application/json"): answer("The flow.", ref("Flow")),
        **refusals(*GUARDED, "unknown-flow", "not-acceptable"),
    },
}

CREATE_TOKEN: dict[str, Any] = {
    "operation_id": "createToken",
    "tags": ["auth"],
    "summary": "Make a bearer token",
    "description": (
        "By user name (what users log in with) and password in the body, or, without a body, by"
        " HTTP Basic. Credentials in"
        " the body count whatever the Authorization header says. A user has at most 100 tokens: one"
        " more revokes the one that ends soonest, never one without an end. A changed password and"
        " a deactivated user revoke all."
    ),
    "auth": [{"basicAuth": []}, {}],
    "parameters": [
        CHALLENGE,
        WAITED,
    ],
    "request": {"application/json": ref("Credentials")},
    "responses": {
        (200, "application/json"): answer("The token; it is shown this once.", ref("Token")),
        **refusals(
            "payload-invalid",
            "query-invalid",
            "not-authenticated",
            "too-many-logins",
            "too-many-tokens",
            *RECEIVED,
            "payload-too-large",
            "unsupported-media-type",
            "database-unavailable",
            "not-acceptable",
        ),
    },
}

REVOKE_TOKEN: dict[str, Any] = {
    "operation_id": "revokeToken",
    "tags": ["auth"],
    "summary": "Revoke the bearer token of this call",
    "auth": [{"bearerAuth": []}],
    "parameters": [CHALLENGE, WAITED],
    "responses": {
        204: OpenApiResponse(description="It is good for nothing any more."),
        **refusals("query-invalid", "not-authenticated", "database-unavailable"),
    },
}

IS_LIVE: dict[str, Any] = {
    "operation_id": "isLive",
    "tags": ["health"],
    "summary": "Does the process answer?",
    "auth": [],
    "responses": {
        (200, "application/json"): answer("It does.", LIVE),
        **refusals("query-invalid", "not-acceptable"),
    },
}

IS_READY: dict[str, Any] = {
    "operation_id": "isReady",
    "tags": ["health"],
    "summary": "Can starts be taken?",
    "description": "Ready is a process whose database takes writes and has every migration, on a"
    " machine that can seal scripts or, with ASYNCENGINE_UNSEALED_SCRIPTS, need not. Staff who"
    " log in are told which measures are missing.",
    "auth": [],
    "parameters": [WAITED],
    "responses": {
        (200, "application/json"): answer("They can.", READY),
        **refusals(
            "query-invalid",
            "database-unavailable",
            "not-ready",
            "scripts-not-sealed",
            "not-acceptable",
        ),
    },
}
