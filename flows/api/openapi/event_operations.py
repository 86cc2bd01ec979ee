"""The streams of events in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from flows.api.openapi.describe import (
    HEADER,
    Operation,
    Responses,
    filtered,
    names_its_run,
    operation,
)
from flows.api.openapi.run_operations import RUN_ID, SEEN

EVENTS = (
    " Events are server-sent events (`text/event-stream`), each with JSON in one line of"
    " `data`:\n\n"
    "- `step-finished`: an attempt of a step has completed. `attempt-failed`: it has not; `outcome`"
    " and `error` say why, and it may be tried again. `attempt-waits`: its script waits and runs"
    " again later. Each has `correlationId`, `flowName`, `stepName`, `branch`, `delivery`,"
    " `outcome`, `startedAt`, `finishedAt`, `error`, `errorCode` and `causeCode`, as an attempt of"
    " getRun.\n"
    "- `log`: a line of the log of an attempt, before the attempt itself, with `correlationId`,"
    " `flowName`, `stepName`, `branch`, `delivery`, `at`, `level` and `text`. The stream of a run"
    " has the lines of a script that runs for a second or more while it runs, each once, without an"
    " `id`: a caller that connects again gets them again.\n"
    "- `run-finished`: with `correlationId`, `flowName`, `status`, `finishedAt`, `error`,"
    " `errorCode`, `causeCode` and `warnings`. A run that goes on again, because its dead letter"
    " was reprocessed, finishes again; an end with the same `finishedAt` is the same one.\n\n"
    "Every 15 seconds without an event the stream has a new `id` without one. The server ends it"
    " when the login or the right ends, and when it stops. A caller that reads slowly gets every"
    " event, later. The number of streams of a user at the same time is limited. A server without"
    " ASGI, and a project's that is not wrapped for it, answers 501."
)
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID",
    {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}(-[0-9]{1,6})?$"},
    HEADER,
    description="The last `id` that was received. The stream goes on behind it.",
)
EXAMPLE = (
    "id: 4711-3-1\nevent: log\n"
    'data: {"correlationId":"0190f3a2-7c1e-7d3b-9a55-0f2d6c1b8e4a","flowName":"Loan application",'
    '"stepName":"check","branch":null,"delivery":1,"at":"2026-05-04T08:15:30.120000Z",'
    '"level":"info","text":"asks the register"}\n\n'
    "id: 4712-3\nevent: step-finished\n"
    'data: {"correlationId":"0190f3a2-7c1e-7d3b-9a55-0f2d6c1b8e4a","flowName":"Loan application",'
    '"stepName":"check","branch":null,"delivery":1,"outcome":"COMPLETED",'
    '"startedAt":"2026-05-04T08:15:30.100000Z","finishedAt":"2026-05-04T08:15:30.480000Z",'
    '"error":null,"errorCode":null,"causeCode":null}\n\n'
    "id: 4712-3-999999\nevent: run-finished\n"
    'data: {"correlationId":"0190f3a2-7c1e-7d3b-9a55-0f2d6c1b8e4a","flowName":"Loan application",'
    '"status":"COMPLETED","finishedAt":"2026-05-04T08:15:30.500000Z","error":null,"errorCode":null,'
    '"causeCode":null,"warnings":0}\n\n'
)


def streamed(description: str) -> Responses:
    """Describe an answer that is a stream of events.

    Generators make a client that reads text of a type they do not know as JSON, and one that hands
    over what is octets as it is.
    """
    response = OpenApiResponse(
        {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "Server-sent events.",
        },
        description=description,
        examples=[OpenApiExample("events", value=EXAMPLE, media_type="text/event-stream")],
    )
    return {(200, "text/event-stream"): response}


STREAM_RUN_EVENTS: Operation = operation(
    "GET",
    "streamRunEvents",
    "events",
    "Follow a run",
    "Streams what has happened in the run, from its beginning or behind `Last-Event-ID`, and what"
    " happens. The stream ends after `run-finished`; 204 if that was the last event." + EVENTS,
    parameters=[RUN_ID, LAST_EVENT_ID, names_its_run(200, 204)],
    answer={
        **streamed("The events of the run."),
        204: OpenApiResponse(description="The run has finished, and its end was received."),
    },
    problems=("header-invalid", "not-found", "too-many-waiters", "no-streams", "overloaded"),
)

STREAM_EVENTS: Operation = operation(
    "GET",
    "streamEvents",
    "events",
    "Follow all runs",
    f"Streams what happens in {SEEN}, from now on or behind `Last-Event-ID`. No event of the last"
    " hour is missed. If the next event is older, the first one is `missed` with its time in"
    " `since`, and the stream goes on from now; so it is, with null, behind an id of another"
    " database, such as that before a backup was restored." + EVENTS,
    parameters=[filtered("flowName", "Only those of this flow."), LAST_EVENT_ID],
    answer=streamed("The events."),
    problems=("header-invalid", "unknown-flow", "too-many-waiters", "no-streams", "overloaded"),
)
