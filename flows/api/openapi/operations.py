"""The operations in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from flows.api.openapi.describe import (
    CHALLENGE,
    GIVEN,
    HEADER,
    RECEIVES,
    TAKEN,
    WAITED,
    Operation,
    answered,
    answered_header,
    filtered,
    in_path,
    names_its_run,
    operation,
    refusals,
    says_its_rates,
)
from flows.api.openapi.examples import (
    BATCH_STARTED,
    DEAD_LETTER,
    FLOW,
    METRICS,
    QUEUE,
    REPROCESSING,
    REPROCESSING_PROGRESS,
    RUN,
    STARTED,
    TOKEN,
)
from flows.api.openapi.schemas import (
    BULK_REPROCESSING,
    INT64,
    LIVE,
    READY,
    REPROCESSING_REQUEST,
    ref,
)
from flows.api.pages import LARGEST_PAGE, PAGE_SIZE
from flows.models import DeadLetter
from flows.models.message import DEFAULT_PRIORITY
from flows.models.run_label import MOST_LABELS
from flows.models.webhook_url import LONGEST_URL

DEAD_LETTER_ID = in_path("id", "The dead letter's id.", INT64)
PAGE = [
    filtered(
        "pageSize",
        "The most entries on a page.",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE_SIZE},
    ),
    filtered("cursor", "The `nextCursor` of the page before."),
]
FLOW_NAME = filtered("flowName", "The flow's name.", required=True)
OF_FLOW = filtered(
    "flowName", "Only those of the flow that has this name, or had it when their run was started."
)
LOCATION = answered_header("Location", OpenApiTypes.URI, "The address of the run.", 202)
LABELS = {
    "type": "array",
    "maxItems": MOST_LABELS,
    "items": {"type": "string", "pattern": "^[^:]{1,64}:.{1,255}$"},
}
TRACEPARENT = OpenApiParameter(
    "traceparent",
    str,
    HEADER,
    description="The caller's span, as W3C Trace Context has it, with `tracestate` beside it. Where"
    " the server sends traces, the run belongs to that trace. A malformed one is ignored.",
    examples=[
        OpenApiExample("sampled", value="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    ],
)
START_OPTIONS = [
    filtered(
        "priority",
        "Messages of a higher priority leave their queue first.",
        {"type": "integer", "minimum": 0, "maximum": 9, "default": DEFAULT_PRIORITY},
    ),
    filtered(
        "startAt",
        "The run waits until this time. The server limits the delay; its default is 400 days. A"
        " queue takes as many delayed starts as its size, in addition to its messages.",
        OpenApiTypes.DATETIME,
    ),
    filtered(
        "label",
        "A label of the run, `key:value`: a key of 1 to 64 characters without a colon, and a value"
        " of 1 to 255. At most 16, each with a key of its own. `listRuns` finds runs by them.",
        LABELS,
        examples=[OpenApiExample("order", value=["order:4711", "shop:north"])],
    ),
    filtered(
        "deadline",
        "A time, or a number of seconds from now. A run that has not ended by then is cancelled"
        " within seconds, whatever it is doing; its `error` says so. No script of it begins later,"
        " and what one gives later is not taken. It must be later than `startAt`.",
        # Not a choice of two schemas: clients in Java fail where none is given.
        {
            **GIVEN,
            "pattern": r"^([0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}"
            r"[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:?[0-9]{2}))$",
        },
        examples=[
            OpenApiExample("time", value="2026-11-02T09:30:00Z"),
            OpenApiExample("seconds", value="300"),
        ],
    ),
    filtered(
        "callbackUrl",
        "An address that is told the end of the run, by a POST with the headers of Standard"
        " Webhooks; see `listWebhookDeliveries`. A private address is refused as"
        " `callback-refused`, unless the flow grants such; a name is looked up when it is called.",
        {"type": "string", "format": "uri", "minLength": 1, "maxLength": LONGEST_URL},
        examples=[OpenApiExample("shop", value="https://shop.example.org/hooks/runs")],
    ),
]

WAIT_FOR_END = filtered(
    "wait",
    "Wait for the end of the run, at most this number of seconds; more than 60 counts as 60. Where"
    " too many callers wait, the answer is 202 at once.",
    {"type": "number", "minimum": 0, "default": 0},
)
KEY = OpenApiParameter(
    "Idempotency-Key",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[\\x20-\\x2b\\x2d-\\x7e]+$",
    },
    HEADER,
    description="The caller's name for this start.",
)
IS_REPEAT = answered_header(
    "Idempotent-Replayed", str, "`true`: the run was started by an earlier call.", 200, 202
)

# The body of a verb of operators.
WITH_REASON = {"application/json": ref("Reason")}

# --- runs --------------------------------------------------------------------------------------

START = operation(
    "POST",
    "startProcess",
    "runs",
    "Start a run of a flow",
    "Stores the payload in the first queue of the flow and answers once it is stored. The run goes"
    " on without the caller. With an `Idempotency-Key` a repeated call within a day answers with"
    " the run that the first call started, if the request is the same: its payload, `priority`,"
    " `startAt`, `label`, `deadline` and `callbackUrl`. With `wait` the answer is 200 with the run,"
    " where it ends in time. More starts than a start rate of the flow or the user allows are"
    " refused with `throttled`; repeats do not count.",
    parameters=[
        FLOW_NAME,
        *START_OPTIONS,
        WAIT_FOR_END,
        KEY,
        TRACEPARENT,
        IS_REPEAT,
        LOCATION,
        names_its_run(200, 202),
        *says_its_rates(200, 202, 429),
    ],
    body={"application/json": ref("Payload")},
    answer={
        **answered("The run has ended within `wait`.", ref("StartedRun"), RUN),
        **answered("The run is stored.", ref("Started"), STARTED, status=202),
    },
    problems=(
        "callback-refused",
        "header-invalid",
        "unknown-flow",
        "flow-not-runnable",
        "busy",
        "idempotency-conflict",
        "payload-too-large",
        "queue-full",
        "throttled",
        "outcome-unknown",
    ),
    retry_after=(429, 503, 504),
)

BATCH = OpenApiExample(
    "batch",
    value=[{"amount": 4200, "customer": "A-77"}, {"amount": 90, "customer": "B-12"}],
    request_only=True,
)
START_BATCH = operation(
    "POST",
    "startBatch",
    "runs",
    "Start many runs of a flow",
    "Starts a run for each element of a JSON array, or for each line of NDJSON, which is sent as"
    " `application/x-ndjson`. The server reads, checks and stores payloads in chunks while they"
    " arrive, so a batch may have any length. Each payload may be as large as that of a single"
    " start. The body is not compressed, and may begin with a byte order mark.\n\n"
    "`rejected` lists refused payloads by their lines, counted from 1 with the empty"
    " lines, or by their places in the array; all others are started, in their order. A line that"
    " finds the queue full, or a start rate exhausted, waits if `wait` says so. If that is in vain,"
    " the flow takes no more starts of the caller, or the database is lost, the batch stops: the"
    " last refusal gives the cause, and `nextLine` the line to go on from after `Retry-After`; no"
    " line behind it is taken. Where it stops at"
    " the first valid line, the answer is the refusal itself, such as 429. Accepted payloads stay"
    " accepted, even if the connection breaks. With `keyField` the whole batch may be sent again"
    " then, and each line is started once. Without keys, after `outcome-unknown`, `nextLine` and"
    " some later lines may be stored.",
    parameters=[
        FLOW_NAME,
        *START_OPTIONS,
        filtered(
            "wait",
            "How long one line waits for room in the queue, in seconds; more than 600 counts as"
            " 600. Meanwhile nothing is read. A process has a few places to wait; where all are"
            " taken, the line does not wait.",
            {"type": "number", "minimum": 0, "default": 0},
        ),
        filtered(
            "keyField",
            "The member of each payload that is its idempotency key: a string of 1 to 255 printable"
            " characters. Another request with the same key is refused as `idempotency-conflict`.",
            {"type": "string", "minLength": 1},
            examples=[OpenApiExample("order", value="orderId")],
        ),
        filtered(
            "correlationIds",
            "`all`: the answer has the ids of all runs, not of the first 1,000 alone.",
            enum=["first", "all"],
            default="first",
        ),
        TRACEPARENT,
        *says_its_rates(202, 429),
    ],
    body={
        # Not application/x-ndjson as well: generators of clients warn of it.
        "application/json": {
            "type": "array",
            "items": ref("Payload"),
        },
    },
    answer=answered("What was accepted is stored.", ref("BatchStarted"), BATCH_STARTED, status=202),
    problems=(
        "callback-refused",
        "header-invalid",
        "unknown-flow",
        "flow-not-runnable",
        "busy",
        "queue-full",
        "throttled",
        "outcome-unknown",
    ),
    retry_after=(202, 429, 503, 504),
) | {"examples": [BATCH]}

# --- queues ------------------------------------------------------------------------------------

QUEUE_NAME = in_path("name", "The queue's name.")
THE_QUEUE = answered("The queue.", ref("Queue"), QUEUE)

LIST_QUEUES = operation(
    "GET",
    "listQueues",
    "queues",
    "List queues",
    "Returns the queues of the flows that the caller may watch or operate, by name.",
    parameters=PAGE,
    answer=answered(
        "A page of queues, by name.",
        ref("QueuePage"),
        {"results": [QUEUE], "next": None, "nextCursor": None},
    ),
)

GET_QUEUE = operation(
    "GET",
    "getQueue",
    "queues",
    "See a queue",
    "Returns the queue with its counters. The caller needs the right to watch or operate the flow"
    " that the queue belongs to.",
    parameters=[QUEUE_NAME],
    answer=THE_QUEUE,
    problems=("unknown-queue",),
)

PAUSE_QUEUE = operation(
    "POST",
    "pauseQueue",
    "queues",
    "Pause a queue",
    "Waiting messages stay in the queue; running scripts go on. A paused queue does not change.",
    parameters=[QUEUE_NAME],
    body=WITH_REASON,
    answer=THE_QUEUE,
    problems=("unknown-queue",),
)

RESUME_QUEUE = operation(
    "POST",
    "resumeQueue",
    "queues",
    "Resume a queue",
    "Messages go to workers again. A queue that is not paused does not change.",
    parameters=[QUEUE_NAME],
    body=WITH_REASON,
    answer=THE_QUEUE,
    problems=("unknown-queue",),
)

# --- dead letters ------------------------------------------------------------------------------

LIST_DEAD_LETTERS = operation(
    "GET",
    "listDeadLetters",
    "dead letters",
    "List the open dead letters, the newest first",
    "Returns the dead letters that were neither reprocessed nor discarded, of the flows that the"
    " caller may watch or operate. A page ends early if the messages are large.",
    parameters=[
        OF_FLOW,
        filtered("queue", "Only those that died in the queue that has this name, or had it then."),
        filtered("reason", "Only those with this reason.", enum=DeadLetter.Reason.values),
        filtered("code", "Only those with this code of the script that rejected them."),
        filtered("correlationId", "Only those of this run.", OpenApiTypes.UUID),
        *PAGE,
    ],
    answer=answered(
        "A page of dead letters.",
        ref("DeadLetterPage"),
        {"results": [DEAD_LETTER], "next": None, "nextCursor": None},
    ),
)

GET_DEAD_LETTER = operation(
    "GET",
    "getDeadLetter",
    "dead letters",
    "See a dead letter",
    "Returns an open dead letter, or one that was reprocessed. One that was discarded is not there."
    " The caller needs the right to watch or operate its flow.",
    parameters=[DEAD_LETTER_ID, names_its_run(200)],
    answer=answered("The dead letter.", ref("DeadLetter"), DEAD_LETTER),
    problems=(
        "not-found",
        "payload-erased",
    ),
)

REPROCESS_DEAD_LETTER = operation(
    "POST",
    "reprocessDeadLetter",
    "dead letters",
    "Requeue a dead letter at the step where it failed",
    "The run goes on there; earlier steps are not run again. Without a body the message is requeued"
    " as it was, for the version of the script that the run has. With `wait` the answer is 200 with"
    " the run, where it ends in time. A run with other open dead letters stays FAILED until they"
    " are decided, too.",
    parameters=[DEAD_LETTER_ID, WAIT_FOR_END, LOCATION, names_its_run(200, 202)],
    body={"application/json": ref("Reprocessing")},
    answer={
        **answered("The run has ended within `wait`.", ref("StartedRun"), RUN),
        **answered(
            "The message is in its queue.",
            ref("Reprocessed"),
            {**STARTED, "status": "RUNNING"},
            status=202,
        ),
    },
    problems=(
        "not-found",
        "already-reprocessed",
        "payload-erased",
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
    "Discard a dead letter",
    "Its run stays failed. A run with branches goes on without this branch if another of its dead"
    " letters was reprocessed and none is open any more. 429: the queue of the step where its"
    " branches meet is full.",
    parameters=[DEAD_LETTER_ID, names_its_run(204)],
    body=WITH_REASON,
    answer={204: OpenApiResponse(description="It is discarded.")},
    problems=("not-found", "payload-erased", "already-reprocessed", "queue-full"),
)

REPROCESS_DEAD_LETTERS = operation(
    "POST",
    "reprocessDeadLetters",
    "dead letters",
    "Reprocess many dead letters",
    "Requeues each matching open dead letter at the step where it failed, one after the other, each"
    " exactly once; with `all`, or an empty filter, every open one. The answer comes before the"
    " first is requeued. Dead letters of flows that the caller may not operate are left out. The"
    " runs of a first sample must end before the others follow. The reprocessing stops after"
    " `stopAfterFailures`, and waits while a queue is full.",
    body={"application/json": REPROCESSING_REQUEST},
    answer=answered("It is stored, or only counted.", BULK_REPROCESSING, REPROCESSING, status=202),
    problems=("payload-too-large",),
    retry_after=(503,),
)

REPROCESSING_ID = in_path("id", "The reprocessing's id.", INT64)
THE_REPROCESSING = answered("The reprocessing.", ref("ReprocessingProgress"), REPROCESSING_PROGRESS)

LIST_REPROCESSINGS = operation(
    "GET",
    "listReprocessings",
    "dead letters",
    "List reprocessings of many dead letters, the newest first",
    "Returns how far each is. Callers who may operate every flow see all; others see their own, as"
    " long as they may operate all flows that it is about.",
    parameters=PAGE,
    answer=answered(
        "A page of reprocessings.",
        ref("ReprocessingPage"),
        {"results": [REPROCESSING_PROGRESS], "next": None, "nextCursor": None},
    ),
)

GET_REPROCESSING = operation(
    "GET",
    "getReprocessing",
    "dead letters",
    "See how far a reprocessing is",
    "Returns its counts, and why it waits or has stopped.",
    parameters=[REPROCESSING_ID],
    answer=THE_REPROCESSING,
    problems=("not-found",),
)

STOP_REPROCESSING = operation(
    "POST",
    "stopReprocessing",
    "dead letters",
    "Stop a reprocessing",
    "No further dead letter is requeued. Runs that were requeued go on. A reprocessing that has"
    " stopped or finished does not change.",
    parameters=[REPROCESSING_ID],
    body=WITH_REASON,
    answer=THE_REPROCESSING,
    problems=("not-found",),
)

# --- flows -------------------------------------------------------------------------------------

LIST_FLOWS = operation(
    "GET",
    "listFlows",
    "flows",
    "List flows",
    "Returns the flows that the caller may start, watch or operate, by name, each with the caller's"
    " rights on it.",
    parameters=PAGE,
    answer=answered(
        "A page of flows, by name.",
        ref("FlowPage"),
        {"results": [FLOW], "next": None, "nextCursor": None},
    ),
)

GET_FLOW = operation(
    "GET",
    "getFlow",
    "flows",
    "See a flow",
    "Returns the flow with its steps, the schema of its payload and the caller's rights on it.",
    parameters=[in_path("name", "The flow's name.")],
    answer=answered("The flow.", ref("Flow"), FLOW),
    problems=("unknown-flow",),
)

PAUSE_FLOW = operation(
    "POST",
    "pauseFlow",
    "flows",
    "Pause a flow",
    "The messages of all its steps wait; running scripts go on, and starts are taken while the"
    " first queue has room. A paused flow does not change. Needs the right to operate the flow.",
    parameters=[in_path("name", "The flow's name.")],
    body=WITH_REASON,
    answer=answered("The flow.", ref("Flow"), FLOW | {"paused": True}),
    problems=("unknown-flow",),
)

RESUME_FLOW = operation(
    "POST",
    "resumeFlow",
    "flows",
    "Resume a flow",
    "Its messages go to workers again, but for those in queues that are paused themselves. A flow"
    " that is not paused does not change. Needs the right to operate the flow.",
    parameters=[in_path("name", "The flow's name.")],
    body=WITH_REASON,
    answer=answered("The flow.", ref("Flow"), FLOW),
    problems=("unknown-flow",),
)

# --- without a login ---------------------------------------------------------------------------

CREATE_TOKEN: Operation = {
    "operation_id": "createToken",
    "tags": ["auth"],
    "summary": "Make a bearer token",
    "description": (
        "The caller sends the name that the user logs in with and the password in the body, or,"
        " where it has none, by HTTP Basic. A user has at most 50 tokens: one more revokes the"
        " oldest one without a name, never one without an end. A changed password or a deactivated"
        " user revokes all."
    ),
    "auth": [{"basicAuth": []}, {}],
    "parameters": [CHALLENGE, WAITED, *TAKEN],
    "request": {"application/json": ref("Credentials")},
    "responses": {
        **answered("The token; it is shown this once.", ref("Token"), TOKEN),
        **refusals(
            "payload-invalid",
            "query-invalid",
            "not-authenticated",
            "token-not-allowed",
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
    "description": "The token in the Authorization header is not valid any more. Another"
    " login is refused: `removeToken` revokes a token by its id.",
    "auth": [{"bearerAuth": []}],
    "parameters": [CHALLENGE, WAITED],
    "responses": {
        204: OpenApiResponse(description="The token is revoked."),
        **refusals("query-invalid", "not-authenticated", "database-unavailable", "not-acceptable"),
    },
}

GET_METRICS = operation(
    "GET",
    "getMetrics",
    "health",
    "The metrics of the installation",
    "For Prometheus: depth and age of queues, claims, deliveries by outcome, runs, durations as"
    " histograms, refused starts, workers, leases, alarms and conservation, of all flows. It takes"
    " the permission `flows.view_metrics`. Callers that accept OpenMetrics get that.",
    problems=("no-role",),
    answer={
        (200, "text/plain"): OpenApiResponse(
            OpenApiTypes.STR,
            description="The text format of Prometheus.",
            examples=[OpenApiExample("answer", value=METRICS)],
        )
    },
)

IS_LIVE: Operation = {
    "operation_id": "isLive",
    "tags": ["health"],
    "summary": "Does the process answer?",
    "description": "For liveness probes: 200 as soon as the web server answers. Needs no database.",
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
    "description": "For readiness probes: 200 if the database takes writes and has every migration,"
    " and scripts run on this machine. 503 gives the cause. Staff users see the measures of the"
    " sandbox that the machine lacks.",
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
