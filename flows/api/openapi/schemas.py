"""The shapes in the OpenAPI document, as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings

from flows.api.errors import PROBLEM_TYPES, TYPE_BASE
from flows.api.openapi.examples import REPROCESSING_REQUEST as EXAMPLE_OF_REPROCESSING
from flows.models import (
    DeadLetter,
    FlowSchedule,
    Reprocessing,
    Right,
    Run,
    StepRun,
    WebhookDelivery,
)
from flows.models.flow_schedule import LONGEST_EXPRESSION, MOST_JITTER
from flows.models.message import DEFAULT_PRIORITY, HIGHEST_PRIORITY
from flows.monitoring.error_codes import DEADLINE, FAILED, LOST
from flows.monitoring.trace import PENDING, RUNNING, SKIPPED
from flows.monitoring.wait_reason import CODES
from flows.options import LONGEST_REASON
from flows.tasks.reprocessing import SAMPLE

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 100}
# Generators warn of an object without `additionalProperties`.
ANY_OBJECT: Schema = {"type": "object", "additionalProperties": True}
INT64: Schema = {"type": "integer", "format": "int64"}
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


def page_of(name: str) -> Schema:
    following = {"type": ["string", "null"], "format": "uri", "description": "The next page."}
    cursor = {**TEXT_OR_NULL, "description": "The `cursor` of the next page."}
    return record({"results": listed(ref(name)), "next": following, "nextCursor": cursor})


def word(description: str, known: Iterable[str]) -> Schema:
    """Return the schema of a word for programs. No enum: a new one would break their clients."""
    words = ", ".join(f"`{each}`" for each in known)
    return {"type": "string", "description": f"{description} Known are {words}; more may come."}


def code(description: str, known: Iterable[str]) -> Schema:
    """Return the schema of a word beside a sentence for people, null where there is none."""
    return word(description, known) | TEXT_OR_NULL


WAITING_CODE = code("Why it waits, as a word.", CODES)
ERROR_CODE = code(
    "The kind of the error: why its last dead letter has become one, or that it was cancelled at"
    " its deadline.",
    [*DeadLetter.Reason.values, FAILED, DEADLINE],
)
CAUSE_CODE = code(
    "How the delivery itself ended that `errorCode` or `reason` is about: out of deliveries may be"
    " by an error of the script or by the death of its worker. Null where no delivery has ended"
    " so, and for dead letters that are older than this code.",
    DeadLetter.Cause.values,
)
ATTEMPT_CODE = code(
    "The kind of the error: the reason of the dead letter that has come of the attempt, else how it"
    " has ended.",
    [
        *DeadLetter.Reason.values,
        *(each.lower() for each in StepRun.Outcome.values if each != StepRun.Outcome.COMPLETED),
        *dict.fromkeys(LOST.values()),
    ],
)
ATTEMPT_CAUSE = code(
    "How the delivery itself ended, whether a dead letter has come of it or not; null where it has"
    " no error.",
    [*(each.lower() for each in StepRun.Outcome.values), *dict.fromkeys(LOST.values())],
)

PROBLEM_TYPE: Schema = {
    **word(f"`{TYPE_BASE}` and a fixed word for the cause.", PROBLEM_TYPES),
    "format": "uri-reference",
}

PROBLEM = record(
    {
        "type": PROBLEM_TYPE,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "correlationId": {
            **CORRELATION_ID,
            "description": "The run that was started with the key, of `idempotency-conflict`.",
        },
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
    optional=("correlationId", "errors"),
    description="Problem details, RFC 9457.",
)

STARTED = record(
    {
        "correlationId": CORRELATION_ID,
        "flowName": TEXT,
        "status": {
            "type": "string",
            "enum": Run.Status.values,
            "description": "QUEUED, unless the run was started by an earlier call.",
        },
        "statusUrl": {"type": "string", "format": "uri"},
    }
)

LOG_LINE_PROPERTIES: dict[str, Schema] = {
    "at": TIME,
    "level": {
        "type": "string",
        "description": "`debug`, `info`, `warning`, `error`, `critical`, or a word of the script.",
    },
    "text": TEXT,
}
LOG_LINE = record(LOG_LINE_PROPERTIES, description="A line that a script has logged.")

BRANCH: Schema = {
    "type": ["string", "null"],
    "description": "Which branch of the run, as numbers with points.",
}

RUN_LOGS = record(
    {
        "entries": listed(
            record(
                {
                    **LOG_LINE_PROPERTIES,
                    "stepName": TEXT,
                    "branch": BRANCH,
                    "attempt": {"type": "integer", "minimum": 1},
                }
            )
        ),
        "nextOffset": {**COUNT, "description": "The offset of the next page."},
        "isComplete": {
            "type": "boolean",
            "description": "Whether the run has ended and no further line will come.",
        },
    },
    description="A part of the log of a run.",
)

RUN_COUNTS = record(
    {
        "counts": record(dict.fromkeys(Run.Status.values, COUNT)),
        "total": COUNT,
    },
    description="The numbers of runs, by their status and in all.",
)

ATTEMPT = record(
    {
        "attempt": {"type": "integer", "minimum": 1},
        "branch": BRANCH,
        "scriptName": TEXT,
        "scriptVersion": {"type": "integer", "minimum": 1, "description": "That it ran."},
        "startedAt": TIME,
        "finishedAt": TIME_OR_NULL,
        "outcome": word(
            f"How it has ended. {RUNNING}: its script has been running for a second or more.",
            [*StepRun.Outcome.values, RUNNING],
        ),
        "error": TEXT_OR_NULL,
        "errorCode": ATTEMPT_CODE,
        "causeCode": ATTEMPT_CAUSE,
        "logs": listed(ref("LogLine")),
    },
    description="One delivery of the message to the step's script.",
)

PROGRESS = record(
    {
        "done": {"type": "number", "minimum": 0},
        "total": {"type": ["number", "null"], "minimum": 0},
        "text": TEXT,
        "at": TIME,
    },
    description="How far a script that runs says that it is, by context.progress.",
)

STEP_TRACE = record(
    {
        "name": TEXT,
        "queueName": TEXT,
        "scriptName": TEXT,
        "scriptVersion": {
            "type": "integer",
            "minimum": 1,
            "description": "That of the message which waits or runs here, else of the last attempt;"
            " where nothing came yet, that of the run's flow version. After a reprocessing with"
            " newestScript the steps of a run may have run with several flow versions.",
        },
        "status": {
            "type": "string",
            "enum": [PENDING, SKIPPED, *Run.Status.values],
            "description": f"{PENDING}: the run has not come to it. {SKIPPED}: it ended before, or"
            " a script went past it.",
        },
        "deliveries": COUNT,
        "startedAt": TIME_OR_NULL,
        "finishedAt": TIME_OR_NULL,
        "error": TEXT_OR_NULL,
        "errorCode": code(
            "The kind of the error: why its dead letter has become one, else how its last attempt"
            " has ended.",
            DeadLetter.Reason.values,
        ),
        "causeCode": CAUSE_CODE,
        "progress": {"anyOf": [PROGRESS, {"type": "null"}]},
        "attempts": listed(ref("Attempt")),
    }
)

RUN_SUMMARY_PROPERTIES: dict[str, Schema] = {
    "correlationId": CORRELATION_ID,
    "flowName": TEXT,
    "flowVersion": {
        "type": "integer",
        "minimum": 1,
        "description": "That it goes on with, or has ended with; a reprocessing with newestScript"
        " changes it.",
    },
    "status": {"type": "string", "enum": Run.Status.values},
    "currentStep": {
        "type": ["string", "null"],
        "description": "Where it is or ended; null when completed.",
    },
    "createdAt": TIME,
    "startedAt": TIME_OR_NULL,
    "finishedAt": TIME_OR_NULL,
    "labels": {
        "type": "object",
        "additionalProperties": TEXT,
        "description": "The labels that it was started with, by their keys.",
    },
    "deadline": {**TIME_OR_NULL, "description": "It is cancelled if it has not ended by then."},
    "error": TEXT_OR_NULL,
    "errorCode": ERROR_CODE,
    "causeCode": CAUSE_CODE,
    "warnings": COUNT,
    "erasedAt": {**TIME_OR_NULL, "description": "When its payloads were erased."},
    "startedBy": {
        **TEXT_OR_NULL,
        "description": "The name of the user that has started it; null: a command, a script, or a"
        " user that was deleted.",
    },
    "repeats": {
        "type": ["string", "null"],
        "format": "uuid",
        "description": "The run that it was started again from; null for a start of its own.",
    },
    "parentCorrelationId": {
        "type": ["string", "null"],
        "format": "uuid",
        "description": "The run whose script has started it, by context.start.",
    },
}

RUN_SUMMARY = record(
    RUN_SUMMARY_PROPERTIES, description="One execution of a flow, without steps and result."
)

RUN = record(
    {
        **RUN_SUMMARY_PROPERTIES,
        "result": {"description": "The output of the last step: any JSON value."},
        "priority": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 9,
            "description": "Of its messages; null where it has none any more.",
        },
        "startAt": {**TIME_OR_NULL, "description": "The time that a delayed start waits for."},
        "waitingBecause": {
            "type": ["string", "null"],
            "description": "Why it waits, in a sentence; null where nothing keeps it waiting.",
        },
        "waitingCode": WAITING_CODE,
        "deadLetterIds": {
            **listed(INT64),
            "description": "Its open dead letters, the oldest first, at most 1,000. The right to"
            " watch or operate the flow shows them.",
        },
        "steps": listed(ref("StepTrace")),
    },
    description="One execution of a flow.",
)

# Generators of some languages read every answer of an operation by the schema of the first.
STARTED_RUN = record(
    {**RUN["properties"], "statusUrl": {"type": "string", "format": "uri"}},
    optional=(
        "statusUrl",
        *(name for name in RUN["properties"] if name not in STARTED["properties"]),
    ),
    description="What a start is answered with: the run where it has ended within `wait`, else the"
    " members of Started alone.",
)

RUN_PAGE = page_of("RunSummary")

LINE: Schema = {"type": "integer", "minimum": 1}

BATCH_STARTED = record(
    {
        "accepted": {
            **COUNT,
            "description": "Lines that a run is stored for, those of an earlier call included.",
        },
        "rejectedCount": COUNT,
        "rejected": listed(
            record(
                {
                    "line": {
                        **LINE,
                        "description": "The line, or the place in the array, from 1.",
                    },
                    "type": {**PROBLEM_TYPE, "description": "As that of a problem."},
                    "detail": TEXT,
                }
            )
        ),
        "correlationIds": {
            **listed(CORRELATION_ID),
            "description": "The first 1,000, or all of them, in the order of the accepted lines.",
        },
        "nextLine": {
            **LINE,
            "description": "Where the batch stopped: it and what follows was not started, and may"
            " be sent again. Absent where the whole batch was looked at.",
        },
    },
    optional=("nextLine",),
    description="What became of a batch. `rejected` has the first 1,000 refusals, and in any case"
    " that of the line where it stopped.",
)

QUEUE = record(
    {
        "name": TEXT,
        "size": {"type": "integer", "minimum": 1},
        "depth": {
            **COUNT,
            "description": "Messages in it, those at a script included; at most its size.",
        },
        "running": {
            **COUNT,
            "description": "Messages at a script: of those that sessions hold, at most one for"
            " each thread.",
        },
        "delayed": {
            **COUNT,
            "description": "Messages that wait for a time: redeliveries, which are in its depth,"
            " and delayed starts, which are not until a worker takes them. Of these there are at"
            " most as many as its size.",
        },
        "deadLetters": {**COUNT, "description": "Open ones."},
        "oldestAgeSeconds": {
            "type": ["number", "null"],
            "minimum": 0,
            "description": "How long the message has been ready that has waited longest; null"
            " where none is.",
        },
        "paused": {"type": "boolean"},
        "ratePerSecond": {
            "type": ["number", "null"],
            "description": "The rate limit, its count by its period; null without one.",
        },
        "cluster": {
            **TEXT_OR_NULL,
            "description": "The cluster whose workers alone take its messages; null: those of all.",
        },
        "waitingBecause": {
            "type": ["string", "null"],
            "description": "Why its messages wait, in a sentence; null where nothing keeps them.",
        },
        "waitingCode": WAITING_CODE,
    },
    description="A queue and what is in it.",
)

QUEUE_PAGE = page_of("Queue")

SCHEDULE_SETTINGS: dict[str, Schema] = {
    "active": {
        "type": "boolean",
        "default": True,
        "description": "While it is not active it starts nothing, and misses no times.",
    },
    "cron": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_EXPRESSION,
        "description": "Minute, hour, day of month, month, day of week; with a sixth field in"
        " front, seconds.",
    },
    "timeZone": {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "default": "UTC",
        "description": "A name such as Europe/Berlin.",
    },
    "payload": {**ANY_OBJECT, "description": "What each run is started with; by default {}."},
    "labels": {
        "type": "object",
        "additionalProperties": TEXT,
        "description": "Labels of its runs, beside `schedule`, which has its name.",
    },
    "priority": {
        "type": "integer",
        "minimum": 0,
        "maximum": HIGHEST_PRIORITY,
        "default": DEFAULT_PRIORITY,
    },
    "missed": {
        "type": "string",
        "enum": FlowSchedule.Missed.values,
        "default": FlowSchedule.Missed.ONE.value,
        "description": "What becomes of times at which nothing could be started: one run for all,"
        " a run for each of the last 100, or none.",
    },
    "overlap": {
        "type": "string",
        "enum": FlowSchedule.Overlap.values,
        "default": FlowSchedule.Overlap.START.value,
        "description": "What happens where the run before has not ended: it is started"
        " nevertheless, the time is left out, or it is started after it.",
    },
    "jitterSeconds": {
        "type": "number",
        "minimum": 0,
        "maximum": MOST_JITTER.total_seconds(),
        "default": 0,
        "description": "Each start is later by a part of this.",
    },
}
SCHEDULE_REQUEST = record(
    SCHEDULE_SETTINGS,
    optional=tuple(name for name in SCHEDULE_SETTINGS if name != "cron"),
    additionalProperties=False,
    examples=[{"cron": "30 6 * * MON-FRI", "timeZone": "Europe/Berlin", "overlap": "skip"}],
)
SCHEDULE = record(
    {
        "flowName": TEXT,
        "name": TEXT,
        **{
            name: {key: value for key, value in schema.items() if key != "default"}
            for name, schema in SCHEDULE_SETTINGS.items()
        },
        "nextAt": {**TIME_OR_NULL, "description": "The next start; null: there is none."},
        "lastTime": {**TIME_OR_NULL, "description": "The time of its last run."},
        "lastCorrelationId": {
            "type": ["string", "null"],
            "format": "uuid",
            "description": "Its last run.",
        },
        "problem": {
            **TEXT_OR_NULL,
            "description": "Why the last time had no run; null: it had.",
        },
    },
    description="Times at which a flow is started, with what payload.",
)
SCHEDULE_PAGE = page_of("Schedule")

DEAD_LETTER = record(
    {
        "id": INT64,
        "correlationId": CORRELATION_ID,
        "queueName": TEXT,
        "flowName": TEXT,
        "stepName": TEXT,
        "error": {"type": "string", "description": "With the script's traceback."},
        "payload": {"description": "As the step received it: any JSON value."},
        "deliveries": COUNT,
        "deadAt": TIME,
        "reason": word("Why it is a dead letter, as a word.", DeadLetter.Reason.values),
        "causeCode": CAUSE_CODE,
        "code": {**TEXT_OR_NULL, "description": "That the script gave when it rejected it."},
        "details": {"description": "What the script said when it rejected it: any JSON value."},
        "reprocessedAt": {**TIME_OR_NULL, "description": "Null while it is open."},
    },
    description="A message that was rejected or ran out of deliveries.",
)

DEAD_LETTER_PAGE = page_of("DeadLetter")

REASON: Schema = {
    "type": "string",
    "maxLength": LONGEST_REASON,
    "description": "Why it is done. It stays in the audit log.",
}
WITH_REASON = record(
    {"reason": REASON},
    optional=("reason",),
    additionalProperties=False,
    examples=[{"reason": "The prices are wrong."}],
)

NEWEST_SCRIPT = (
    "Go on with the flow as it is now, from the step of the same name: this step and all that"
    " follow run their newest versions. Steps before it are not run again."
)

REPROCESSING = record(
    {
        "payload": {**ANY_OBJECT, "description": "In place of the one it failed with."},
        "newestScript": {
            "type": "boolean",
            "default": False,
            "description": NEWEST_SCRIPT,
        },
        "reason": REASON,
    },
    optional=("payload", "newestScript", "reason"),
    additionalProperties=False,
    examples=[{"payload": {"amount": 4200, "customer": "A-77"}, "reason": "The name is mended."}],
)

REPROCESSED = record(
    {
        "correlationId": CORRELATION_ID,
        "flowName": TEXT,
        "status": {"type": "string", "enum": Run.Status.values},
        "statusUrl": {"type": "string", "format": "uri"},
    }
)

AGAIN_REQUEST = record(
    {
        "payload": {
            "description": "In place of the one that was kept: a JSON object, or what the step in"
            " `fromStep` takes."
        },
        "fromStep": {
            **NAME,
            "description": "The step where the new run begins; by default the first one.",
        },
        "reason": REASON,
    },
    optional=("payload", "fromStep", "reason"),
    additionalProperties=False,
    examples=[{"payload": {"amount": 4200, "customer": "A-77"}}, {"fromStep": "decide"}],
)

STARTED_AGAIN = record(
    {
        "correlationId": CORRELATION_ID,
        "flowName": TEXT,
        "status": {
            "type": "string",
            "enum": Run.Status.values,
            "description": "QUEUED, or RUNNING behind the first step, unless the run was started by"
            " an earlier call.",
        },
        "statusUrl": {"type": "string", "format": "uri"},
        "repeats": {**CORRELATION_ID, "description": "The run that it repeats."},
    }
)

FLOW_STEP = record(
    {
        "name": TEXT,
        "scriptName": TEXT,
        "queueName": TEXT,
        "threads": {"type": "integer", "minimum": 1},
    }
)

RIGHTS: Schema = listed({"type": "string", "enum": Right.values})

FLOW = record(
    {
        "name": TEXT,
        "description": TEXT,
        "active": {"type": "boolean"},
        "paused": {
            "type": "boolean",
            "description": "Whether the whole flow is paused; its queues may be paused themselves.",
        },
        "version": {
            "type": ["integer", "null"],
            "description": "The latest; null until it is first started.",
        },
        "steps": listed(ref("FlowStep")),
        "inputSchema": {"description": "JSON Schema of the payload; empty: any object."},
        "startUrl": {"type": "string", "format": "uri"},
        "rights": RIGHTS,
    }
)

FLOW_PAGE = page_of("Flow")

TOKEN = record(
    {
        "accessToken": TEXT,
        "tokenType": {"type": "string", "const": "Bearer"},
        "expiresIn": {"type": "integer", "description": "Seconds."},
    }
)

OWN_TOKEN_PROPERTIES: dict[str, Schema] = {
    "id": {"type": "string", "description": "What the token begins with."},
    "name": TEXT_OR_NULL,
    "createdAt": TIME,
    "expiresAt": {**TIME_OR_NULL, "description": "Null: never."},
    "lastUsedAt": {
        **TIME_OR_NULL,
        "description": "To the minute; null: not since last uses are known.",
    },
    "isCurrent": {"type": "boolean", "description": "Whether this call was made with it."},
}
OWN_TOKEN = record(OWN_TOKEN_PROPERTIES, description="A bearer token of the caller.")
TOKEN_PAGE = page_of("OwnToken")
ADDED_TOKEN = record(
    {
        "accessToken": TEXT,
        "tokenType": {"type": "string", "const": "Bearer"},
        **OWN_TOKEN_PROPERTIES,
    },
    description="A bearer token that was made just now.",
)
TOKEN_REQUEST = record(
    {
        "name": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            # Something is left of it without the blanks around.
            "pattern": "\\S",
            "description": "What will use it, as in billing-service. One with a name is revoked by"
            " removeToken alone.",
        },
        "expiresIn": {
            "type": "integer",
            "minimum": 1,
            "maximum": settings.ASYNCENGINE_MAX_TOKEN_DAYS * 86_400,
            "description": "Seconds that it is valid for.",
        },
    },
    optional=("name", "expiresIn"),
    additionalProperties=False,
    examples=[{"name": "billing-service", "expiresIn": 2_592_000}],
)

CALLER = record(
    {
        "userName": TEXT,
        "isSuperuser": {"type": "boolean"},
        "authentication": {
            "type": "string",
            "description": "`bearer`, `basic`, `session` or `jwt`; more may come.",
        },
        "token": {"anyOf": [ref("OwnToken"), {"type": "null"}]},
        "rights": record(
            {
                "everyFlow": RIGHTS,
                "flows": listed(record({"flowName": TEXT, "rights": RIGHTS})),
            }
        ),
    },
    description="Who calls, and what the caller may do.",
)

CREDENTIALS = record(
    {"userName": TEXT, "password": {"type": "string", "format": "password"}},
    examples=[{"userName": "billing", "password": "correct horse battery staple"}],
)

PAYLOAD: Schema = {
    **ANY_OBJECT,
    "description": (
        "Any JSON object that matches the input parameters of the first script. It travels digit"
        " for digit. Refused are keys that stand twice in one object and numbers beyond a double"
        " (about 1.8e308) or of more than 4300 digits."
    ),
    "examples": [{"amount": 4200, "customer": "A-77"}],
}


LIVE = record({"status": {"type": "string", "const": "live"}}, examples=[{"status": "live"}])

READY = record(
    {
        "status": {"type": "string", "const": "ready"},
        "missingMeasures": listed(TEXT)
        | {"description": "Measures of the scripts' sandbox that this machine lacks, if any."},
    },
    optional=("missingMeasures",),
    examples=[{"status": "ready"}],
)


MOST: Schema = {"type": "integer", "maximum": 2_000_000_000}

REPROCESSING_FILTER = record(
    {
        "flowName": {**NAME, "description": "Of this flow."},
        "queue": {**NAME, "description": "That died in this queue."},
        "reason": {"type": "string", "enum": DeadLetter.Reason.values},
        "code": {**NAME, "description": "That the script gave when it rejected it."},
        "deadAfter": {**TIME, "description": "That died then or later."},
        "deadBefore": {**TIME, "description": "That died earlier."},
    },
    optional=("flowName", "queue", "reason", "code", "deadAfter", "deadBefore"),
    additionalProperties=False,
    description="Which open dead letters: those that match every part; empty: all.",
)

REPROCESSING_REQUEST = record(
    {
        "filter": REPROCESSING_FILTER,
        "all": {
            "type": "boolean",
            "default": False,
            "description": "Every open dead letter; in place of `filter`, or with an empty one.",
        },
        "dryRun": {"type": "boolean", "default": False, "description": "Count and do nothing."},
        "ratePerSecond": {
            "type": ["number", "null"],
            "minimum": 0.001,
            "maximum": 1_000_000,
            "description": "The most dead letters to reprocess in a second; null: no limit.",
        },
        "stopAfterFailures": {
            **MOST,
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "The number of renewed failures that stops it; null: go on.",
        },
        "sample": {
            **MOST,
            "minimum": 0,
            "default": SAMPLE,
            "description": "The number after which it waits until their runs end; 0: no wait.",
        },
        "newestScript": {
            "type": "boolean",
            "default": False,
            "description": NEWEST_SCRIPT,
        },
        "reason": REASON,
    },
    optional=(
        "filter",
        "all",
        "dryRun",
        "ratePerSecond",
        "stopAfterFailures",
        "sample",
        "newestScript",
        "reason",
    ),
    additionalProperties=False,
    examples=[EXAMPLE_OF_REPROCESSING],
)

CANCELLING_FILTER = record(
    {
        "flowName": {**NAME, "description": "Of this flow."},
        "status": {
            **listed({"type": "string", "enum": sorted(Run.UNFINISHED)}),
            "description": "In one of these statuses; empty: in either.",
        },
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "With all of these labels, by their keys.",
        },
        "startedBy": {**TEXT, "minLength": 1, "description": "Of this user; `me`: the caller."},
        "parent": {**CORRELATION_ID, "description": "Started by a script of this run."},
        "createdAfter": {**TIME, "description": "Created then or later."},
        "createdBefore": {**TIME, "description": "Created earlier."},
    },
    optional=(
        "flowName",
        "status",
        "labels",
        "startedBy",
        "parent",
        "createdAfter",
        "createdBefore",
    ),
    additionalProperties=False,
    description="Which runs that have not ended: those that match every part. Where it is empty,"
    " nothing is cancelled unless `all` is true; `dryRun` counts all.",
)

CANCELLING_REQUEST = record(
    {
        "filter": CANCELLING_FILTER,
        "all": {
            "type": "boolean",
            "default": False,
            "description": "Every run that the caller may cancel; in place of `filter`, or with an"
            " empty one.",
        },
        "dryRun": {"type": "boolean", "default": False, "description": "Count and do nothing."},
        "reason": REASON,
    },
    optional=("filter", "all", "dryRun", "reason"),
    additionalProperties=False,
    examples=[
        {
            "filter": {"flowName": "loan-application", "labels": {"shop": "north"}},
            "reason": "Sent twice.",
        },
        {"all": True, "dryRun": True},
    ],
)

CANCELLING = record(
    {
        "matched": COUNT,
        "cancelled": {**COUNT, "description": "By now."},
        "isComplete": {
            "type": "boolean",
            "description": "Whether all are dealt with; else tasks cancel those that are left.",
        },
        "flows": listed(record({"flowName": TEXT, "matched": COUNT})),
    },
    description="What the filter found, in all and by flow, and how far it is.",
)

ERASING_REQUEST = record(
    {
        "correlationId": {**CORRELATION_ID, "description": "The run; either this or `label`."},
        "label": {
            **TEXT,
            "minLength": 3,
            "description": "A label as `key:value`: of all runs that have it.",
        },
        "dryRun": {"type": "boolean", "default": False, "description": "Count and do nothing."},
        "reason": REASON,
    },
    optional=("correlationId", "label", "dryRun", "reason"),
    additionalProperties=False,
    examples=[{"label": "customer:A-77", "reason": "The customer has asked for it."}],
)

ERASING = record(
    {
        "runs": {**COUNT, "description": "The runs that are meant, with their relatives."},
        "erased": {**COUNT, "description": "Those of them that are erased by now."},
        "isComplete": {
            "type": "boolean",
            "description": "Whether all are erased; else tasks erase those that are left.",
        },
        "places": {
            "type": "object",
            "additionalProperties": COUNT,
            "description": "What this call has erased, or would erase: rows by where they are.",
        },
    },
    description="What is erased.",
)

BULK_REPROCESSING = record(
    {
        "id": {
            "type": ["integer", "null"],
            "format": "int64",
            "description": "Null in a dry run.",
        },
        "state": {"type": ["string", "null"], "enum": [*Reprocessing.State.values, None]},
        "matched": COUNT,
        "reprocessed": COUNT,
        "completed": COUNT,
        "failedAgain": COUNT,
        "steps": listed(
            record({"flowName": TEXT, "stepName": TEXT, "queueName": TEXT, "matched": COUNT})
        ),
    },
    description="What the filter found, in all and by step, and how far it is.",
)

REPROCESSING_PROGRESS = record(
    {
        "id": INT64,
        "state": {"type": "string", "enum": Reprocessing.State.values},
        "note": {"type": "string", "description": "Why it stopped or waits; empty: neither."},
        "filter": {
            **ANY_OBJECT,
            "description": "Which dead letters it reprocesses, as in the request. One that was"
            " begun in the Configuration Manager may have further parts.",
        },
        "newestScript": {"type": "boolean"},
        "ratePerSecond": {"type": ["number", "null"]},
        "stopAfterFailures": {"type": ["integer", "null"]},
        "sample": COUNT,
        "matched": {**COUNT, "description": "Dead letters when it began."},
        "reprocessed": {**COUNT, "description": "Requeued, whatever the result."},
        "completed": COUNT,
        "failedAgain": COUNT,
        "cancelled": COUNT,
        "refused": {**COUNT, "description": "Dead letters without a step or queue."},
        "startedBy": TEXT_OR_NULL,
        "createdAt": TIME,
        "finishedAt": {**TIME_OR_NULL, "description": "When the last of its runs had ended."},
    },
    description="The reprocessing of many dead letters, and how far it is.",
)

REPROCESSING_PAGE = page_of("ReprocessingProgress")

WEBHOOK_DELIVERY = record(
    {
        "id": {
            "type": "string",
            "format": "uuid",
            "description": "The `webhook-id` of all its attempts.",
        },
        "correlationId": CORRELATION_ID,
        "kind": {
            "enum": WebhookDelivery.Kind.values,
            "description": "`callback`: the address that the start gave; `flow`: the webhook of"
            " the flow.",
        },
        "type": {"enum": ["run.completed", "run.failed", "run.cancelled"]},
        "url": {**TEXT, "description": "The address; its query is left out."},
        "status": {
            "enum": WebhookDelivery.Status.values,
            "description": "`failed`: it is not tried again by itself.",
        },
        "attempts": COUNT,
        "createdAt": {**TIME, "description": "When the run has ended."},
        "lastAttemptAt": TIME_OR_NULL,
        "nextAttemptAt": {
            **TIME_OR_NULL,
            "description": "When it is tried next; while it is tried, a minute later.",
        },
        "answerStatus": {
            "type": ["integer", "null"],
            "description": "The status of the last answer; null: there was none.",
        },
        "error": {**TEXT_OR_NULL, "description": "Why the last attempt has failed."},
    }
)
WEBHOOK_DELIVERY_PAGE = page_of("WebhookDelivery")

COMPONENTS: dict[str, Schema] = {
    "AddedToken": ADDED_TOKEN,
    "Attempt": ATTEMPT,
    "BatchStarted": BATCH_STARTED,
    "Caller": CALLER,
    "Credentials": CREDENTIALS,
    "DeadLetter": DEAD_LETTER,
    "DeadLetterPage": DEAD_LETTER_PAGE,
    "Flow": FLOW,
    "FlowPage": FLOW_PAGE,
    "FlowStep": FLOW_STEP,
    "LogLine": LOG_LINE,
    "OwnToken": OWN_TOKEN,
    "Payload": PAYLOAD,
    "Problem": PROBLEM,
    "Queue": QUEUE,
    "QueuePage": QUEUE_PAGE,
    "Reason": WITH_REASON,
    "Reprocessed": REPROCESSED,
    "Reprocessing": REPROCESSING,
    "ReprocessingPage": REPROCESSING_PAGE,
    "ReprocessingProgress": REPROCESSING_PROGRESS,
    "Run": RUN,
    "RunLogs": RUN_LOGS,
    "RunPage": RUN_PAGE,
    "RunSummary": RUN_SUMMARY,
    "Schedule": SCHEDULE,
    "SchedulePage": SCHEDULE_PAGE,
    "Started": STARTED,
    "StartedAgain": STARTED_AGAIN,
    "StartedRun": STARTED_RUN,
    "StepTrace": STEP_TRACE,
    "Token": TOKEN,
    "TokenPage": TOKEN_PAGE,
    "WebhookDelivery": WEBHOOK_DELIVERY,
    "WebhookDeliveryPage": WEBHOOK_DELIVERY_PAGE,
}
