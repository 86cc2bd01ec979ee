"""The operations in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from flows.api.openapi.describe import (
    CHALLENGE,
    HEADER,
    QUERY,
    RECEIVES,
    WAITED,
    Operation,
    answered,
    answered_header,
    filtered,
    in_path,
    operation,
    refusals,
)
from flows.api.openapi.examples import (
    BATCH_STARTED,
    QUEUE,
    REPROCESSING,
    RUN,
    RUN_SUMMARY,
    STARTED,
)
from flows.api.openapi.schemas import BULK_REPROCESSING, LIVE, READY, REPROCESSING_REQUEST, ref
from flows.models import DeadLetter, Run
from flows.models.message import DEFAULT_PRIORITY

RUN_ID = in_path("id", "The correlation id.", OpenApiTypes.UUID)
DEAD_LETTER_ID = in_path("id", "The dead letter's id.", int)
CURSOR = filtered("cursor", "From the `next` of a page.")
FLOW_NAME = filtered("flowName", "The flow's name.", required=True)
OF_FLOW = filtered("flowName", "Those of this flow alone.")
LOCATION = answered_header("Location", OpenApiTypes.URI, "Where the run is to be seen.", 202)
START_OPTIONS = [
    filtered(
        "priority",
        "Of the messages that wait in a queue those of a higher priority go first.",
        {"type": "integer", "minimum": 0, "maximum": 9, "default": DEFAULT_PRIORITY},
    ),
    filtered(
        "startAt",
        "Before this time the run waits. It may be ASYNCENGINE_MAX_DELAY_DAYS from now at the most,"
        " 400 unless set. A queue takes as many delayed starts as its size beside its messages.",
        OpenApiTypes.DATETIME,
    ),
]

# --- runs --------------------------------------------------------------------------------------

START = operation(
    "POST",
    "startProcess",
    "runs",
    "Start a run of a flow",
    "Stores the payload in the first queue of the flow. The answer comes once it is stored;"
    " the run then goes on by itself. With an `Idempotency-Key` the same call made again"
    " within a day answers with the run that the first one started.",
    parameters=[
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
        LOCATION,
    ],
    body={"application/json": ref("Payload")},
    answer=answered("The run is stored.", ref("Started"), STARTED, status=202),
    problems=(
        "header-invalid",
        "unknown-flow",
        "flow-not-runnable",
        "busy",
        "idempotency-conflict",
        "payload-too-large",
        "queue-full",
        "outcome-unknown",
    ),
    retry_after=(429, 503, 504),
)

START_BATCH = operation(
    "POST",
    "startBatch",
    "runs",
    "Start many runs of a flow",
    "A run for each line of NDJSON, or for each element of a JSON array. They are read, checked"
    " and stored in chunks while they come, so a batch may be of any length; each payload is"
    " held to the limit of a single start. A payload that is refused is answered with its"
    " line, counted from 1 and with the empty ones, or with its place in the array; the others"
    " are started, in their order. Where the queue is full, or the database is lost, the batch"
    " stops: the last refusal says why, and `nextLine` where to go on after `Retry-After`."
    " After `outcome-unknown` that line and some behind it may be stored. What was accepted"
    " stays so, also where the connection breaks.",
    parameters=[FLOW_NAME, *START_OPTIONS],
    body={
        # JSON first: generators of clients take the first.
        "application/json": {"type": "array", "items": ref("Payload")},
        "application/x-ndjson": {"type": "string", "description": "A payload a line."},
    },
    answer=answered("What was accepted is stored.", ref("BatchStarted"), BATCH_STARTED, status=202),
    problems=(
        "header-invalid",
        "unknown-flow",
        "flow-not-runnable",
        "busy",
        "queue-full",
        "outcome-unknown",
    ),
    retry_after=(202, 429, 503, 504),
)

GET_RUN = operation(
    "GET",
    "getRun",
    "runs",
    "See a run, or wait for its end",
    "The run with its steps and their attempts. With `wait` the answer comes at the end of"
    " the run, or after so many seconds; a wait of more than 60 seconds counts as 60. A user"
    " may have some hundred waits at a time; a wait beyond them is refused with 429.",
    parameters=[
        RUN_ID,
        OpenApiParameter(
            "wait", {"type": "number", "minimum": 0}, QUERY, description="Seconds to wait."
        ),
    ],
    answer=answered("The run.", ref("Run"), RUN),
    problems=("not-found", "too-many-waiting"),
)

LIST_RUNS = operation(
    "GET",
    "listRuns",
    "runs",
    "List runs, the newest first",
    "Those that the caller may see: all of the flows that the caller watches or operates, own"
    " ones of those that the caller may start. In a large system give the times as well:"
    " they bound what has to be looked through for a status that few runs have.",
    parameters=[
        OF_FLOW,
        filtered("status", "Those in this status alone.", enum=Run.Status.values),
        filtered("createdAfter", "At this time or later.", OpenApiTypes.DATETIME),
        filtered("createdBefore", "Before this time.", OpenApiTypes.DATETIME),
        CURSOR,
    ],
    answer=answered("A page of runs.", ref("RunPage"), {"results": [RUN_SUMMARY], "next": None}),
)

CANCEL_RUN = operation(
    "POST",
    "cancelRun",
    "runs",
    "Cancel a run",
    "A waiting message leaves its queue at once; a script at work is stopped soon after. A run"
    " that has failed and goes on with other branches is cancelled, too, and its dead letters"
    " are discarded. A run that has ended stays as it is, and is the answer. It takes the right"
    " to operate the flow, or to start it where the run is an own one.",
    parameters=[RUN_ID],
    answer=answered("The run.", ref("Run")),
    problems=("not-found",),
)

# --- queues ------------------------------------------------------------------------------------

QUEUE_NAME = in_path("name", "The queue's name.")
THE_QUEUE = answered("The queue.", ref("Queue"), QUEUE)

LIST_QUEUES = operation(
    "GET",
    "listQueues",
    "queues",
    "List the queues of the flows that the caller watches or operates",
    parameters=[CURSOR],
    answer=answered(
        "A page of queues, by name.", ref("QueuePage"), {"results": [QUEUE], "next": None}
    ),
)

GET_QUEUE = operation(
    "GET",
    "getQueue",
    "queues",
    "See a queue",
    "It takes the right to watch or operate the flow whose step the queue feeds.",
    parameters=[QUEUE_NAME],
    answer=THE_QUEUE,
    problems=("unknown-queue",),
)

PAUSE_QUEUE = operation(
    "POST",
    "pauseQueue",
    "queues",
    "Pause a queue",
    "Its messages wait; what is at a script goes on. A paused queue stays as it is.",
    parameters=[QUEUE_NAME],
    answer=THE_QUEUE,
    problems=("unknown-queue",),
)

RESUME_QUEUE = operation(
    "POST",
    "resumeQueue",
    "queues",
    "Resume a queue",
    "Its messages are handed out again. A queue that is not paused stays as it is.",
    parameters=[QUEUE_NAME],
    answer=THE_QUEUE,
    problems=("unknown-queue",),
)

# --- dead letters ------------------------------------------------------------------------------

LIST_DEAD_LETTERS = operation(
    "GET",
    "listDeadLetters",
    "dead letters",
    "List the open dead letters, the newest first",
    "Those that were neither reprocessed nor discarded, of the flows that the caller watches"
    " or operates. A page ends early where the messages are large.",
    parameters=[
        OF_FLOW,
        filtered("queue", "Those of the step that this queue feeds."),
        filtered("reason", "Those for this reason alone.", enum=DeadLetter.Reason.values),
        CURSOR,
    ],
    answer=answered("A page of dead letters.", ref("DeadLetterPage")),
)

REPROCESS_DEAD_LETTER = operation(
    "POST",
    "reprocessDeadLetter",
    "dead letters",
    "Requeue a dead letter at the step where it failed",
    "The run goes on there; earlier steps are not run again. Without a body the message"
    " is requeued as it was, for the script that the run has.",
    parameters=[DEAD_LETTER_ID, LOCATION],
    body={"application/json": ref("Reprocessing")},
    answer=answered(
        "The message is in its queue.",
        ref("Reprocessed"),
        {**STARTED, "status": "RUNNING"},
        status=202,
    ),
    problems=(
        "not-found",
        "already-reprocessed",
        "flow-not-runnable",
        "busy",
        "payload-too-large",
        "queue-full",
        "outcome-unknown",
    ),
    retry_after=(429, 503, 504),
)

DISCARD_DEAD_LETTER = operation(
    "DELETE",
    "discardDeadLetter",
    "dead letters",
    "Give a dead letter up",
    "Its run stays failed. A run with branches goes on without this one where another dead"
    " letter of it was reprocessed and none is open any more; 429 says that the queue of the"
    " step where its branches meet is full.",
    parameters=[DEAD_LETTER_ID],
    answer={204: OpenApiResponse(description="It is discarded.")},
    problems=("not-found", "already-reprocessed", "queue-full"),
)

REPROCESS_DEAD_LETTERS = operation(
    "POST",
    "reprocessDeadLetters",
    "dead letters",
    "Reprocess many dead letters",
    "Puts every open dead letter that matches back at the step where it failed, one after the"
    " other, each exactly once; the answer comes before the first. Those of flows that the"
    " caller may not operate are left out. A first sample has to end before the rest follows,"
    " and after `stopAfterFailures` it stops by itself. A full queue makes it wait.",
    body={"application/json": REPROCESSING_REQUEST},
    answer=answered("It is stored, or only counted.", BULK_REPROCESSING, REPROCESSING, status=202),
    problems=("payload-too-large",),
    retry_after=(503,),
)

# --- flows -------------------------------------------------------------------------------------

LIST_FLOWS = operation(
    "GET",
    "listFlows",
    "flows",
    "List the flows that the caller may start or watch",
    parameters=[CURSOR],
    answer=answered("A page of flows, by name.", ref("FlowPage")),
)

GET_FLOW = operation(
    "GET",
    "getFlow",
    "flows",
    "See a flow",
    parameters=[in_path("name", "The flow's name.")],
    answer=answered("The flow.", ref("Flow")),
    problems=("unknown-flow",),
)

# --- without a login ---------------------------------------------------------------------------

CREATE_TOKEN: Operation = {
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
    "parameters": [CHALLENGE, WAITED],
    "request": {"application/json": ref("Credentials")},
    "responses": {
        **answered("The token; it is shown this once.", ref("Token")),
        **refusals(
            "payload-invalid",
            "query-invalid",
            "not-authenticated",
            "too-many-logins",
            "too-many-tokens",
            *RECEIVES,
            "payload-too-large",
            "unsupported-media-type",
            "database-unavailable",
            "not-acceptable",
        ),
    },
}

REVOKE_TOKEN: Operation = {
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

IS_LIVE: Operation = {
    "operation_id": "isLive",
    "tags": ["health"],
    "summary": "Does the process answer?",
    "auth": [],
    "responses": {
        **answered("It does.", LIVE),
        **refusals("query-invalid", "not-acceptable"),
    },
}

IS_READY: Operation = {
    "operation_id": "isReady",
    "tags": ["health"],
    "summary": "Can starts be taken?",
    "description": "Ready is a process whose database takes writes and has every migration, on a"
    " machine that can seal scripts or, with ASYNCENGINE_UNSEALED_SCRIPTS, need not. Staff who"
    " log in are told which measures are missing.",
    "auth": [],
    "parameters": [WAITED],
    "responses": {
        **answered("They can.", READY),
        **refusals(
            "query-invalid",
            "database-unavailable",
            "not-ready",
            "scripts-not-sealed",
            "not-acceptable",
        ),
    },
}
