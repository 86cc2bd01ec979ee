"""The operations on runs in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from flows.api.openapi.describe import (
    QUERY,
    answered,
    filtered,
    in_path,
    names_its_run,
    operation,
    says_its_rates,
)
from flows.api.openapi.examples import CANCELLED, ERASED, RUN, RUN_LOGS, RUN_PAGE, STARTED_AGAIN
from flows.api.openapi.operations import (
    IS_REPEAT,
    KEY,
    LABELS,
    LOCATION,
    OF_FLOW,
    PAGE,
    WAIT_FOR_END,
    WITH_REASON,
)
from flows.api.openapi.schemas import (
    AGAIN_REQUEST,
    CANCELLING,
    CANCELLING_REQUEST,
    ERASING,
    ERASING_REQUEST,
    RUN_COUNTS,
    ref,
)
from flows.models import Run

RUN_ID = in_path("id", "The correlation id.", OpenApiTypes.UUID)
THE_RUN = (RUN_ID, names_its_run(200))
FILTERS = [
    OF_FLOW,
    filtered("status", "Only runs in one of these statuses.", enum=Run.Status.values, many=True),
    filtered("label", "Only runs with all of these labels, each as `key:value`.", LABELS),
    filtered("parent", "Only runs that a script of this run has started.", OpenApiTypes.UUID),
    filtered("startedBy", "Only runs that this user has started; `me` is the caller."),
    filtered(
        "idempotencyKey",
        "Only runs that the caller, or the user in `startedBy`, has started with this key in the"
        " last 24 hours.",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
    filtered("createdAfter", "Only runs created at this time or later.", OpenApiTypes.DATETIME),
    filtered("createdBefore", "Only runs created before this time.", OpenApiTypes.DATETIME),
    filtered("finishedAfter", "Only runs finished at this time or later.", OpenApiTypes.DATETIME),
    filtered("finishedBefore", "Only runs finished before this time.", OpenApiTypes.DATETIME),
]
SEEN = (
    "the runs that the caller may see: all runs of flows that the caller may watch or operate, and"
    " the caller's own runs of flows that the caller may start"
)

GET_RUN = operation(
    "GET",
    "getRun",
    "runs",
    "See a run, or wait for its end",
    "Returns the run with its steps and their attempts. With `wait` the answer comes at the end of"
    " the run, at the latest after that number of seconds; more than 60 counts as 60. The number of"
    " waits of a user at the same time is limited; one more is refused with 429.",
    parameters=[
        *THE_RUN,
        OpenApiParameter(
            "wait", {"type": "number", "minimum": 0}, QUERY, description="Seconds to wait."
        ),
    ],
    answer=answered("The run.", ref("Run"), RUN),
    problems=("not-found", "too-many-waiters"),
)

LIST_RUNS = operation(
    "GET",
    "listRuns",
    "runs",
    "List runs, the newest first",
    f"Returns {SEEN}. In the orders by `finishedAt` these are the finished ones. A search of more"
    " than ten seconds is refused: give a flow or times as well.",
    parameters=[
        *FILTERS,
        filtered(
            "order",
            "The order of the runs; `-` stands for the newest first.",
            enum=["createdAt", "-createdAt", "finishedAt", "-finishedAt"],
            default="-createdAt",
        ),
        *PAGE,
    ],
    answer=answered("A page of runs.", ref("RunPage"), RUN_PAGE),
    problems=("search-too-long",),
)

COUNT_RUNS = operation(
    "GET",
    "countRuns",
    "runs",
    "Count runs by their status",
    f"Counts {SEEN}. It has the filters of the list of runs, and the same limit of time.",
    parameters=FILTERS,
    answer=answered(
        "The numbers of runs.",
        RUN_COUNTS,
        {
            "counts": {
                "QUEUED": 12,
                "RUNNING": 3,
                "COMPLETED": 4711,
                "FAILED": 2,
                "CANCELLED": 0,
            },
            "total": 4728,
        },
    ),
    problems=("search-too-long",),
)

GET_RUN_INPUT = operation(
    "GET",
    "getRunInput",
    "runs",
    "See what a run was started with",
    "Returns the payload as the caller wrote it, digit for digit. A flow decides how long inputs"
    " are kept; where it is not kept, the answer is 409.",
    parameters=THE_RUN,
    answer=answered(
        "The payload.",
        {"description": "An object; any JSON value where the run began at a later step."},
        {"amount": 4200, "customer": "A-77"},
    ),
    problems=("not-found", "input-not-kept", "payload-erased"),
)

GET_RUN_RESULT = operation(
    "GET",
    "getRunResult",
    "runs",
    "See the result of a run",
    "Returns the output of the last step as its script wrote it. 409: the run has not finished, or"
    " has failed or was cancelled.",
    parameters=THE_RUN,
    answer=answered("The result.", {"description": "Any JSON value."}, RUN["result"]),
    problems=("not-found", "no-result", "payload-erased", "run-not-finished"),
)

GET_RUN_LOGS = operation(
    "GET",
    "getRunLogs",
    "runs",
    "See the log of a run",
    "Returns what the scripts of the run have logged, a page of at most 1,000 lines. To follow a"
    " run, call again with `nextOffset` until `isComplete` is true. The lines of attempts that have"
    " ended come first, then those of running scripts. While branches run side by side, a line may"
    " come to another place when its attempt ends.",
    parameters=[
        *THE_RUN,
        filtered(
            "offset",
            "The number of lines to leave out: those that were read before.",
            {"type": "integer", "minimum": 0, "maximum": 1_000_000_000, "default": 0},
        ),
    ],
    answer=answered("A page of the log.", ref("RunLogs"), RUN_LOGS),
    problems=("not-found",),
)

RUN_AGAIN = operation(
    "POST",
    "runAgain",
    "runs",
    "Start a finished run anew",
    "Starts a new run of the flow as it is now, with the payload of this one; the new run names it"
    " in `repeats`. With `fromStep` it begins at that step, with what the step got in this run."
    " `payload` takes the place of either. The caller needs the right to start the flow, for a"
    " later step also the right to watch or operate it, and with a payload for a later step the"
    " right to operate it. With an `Idempotency-Key` a repeated call within a day answers with the"
    " run that the first call started. With `wait` the answer is 200 with the new run, where it"
    " ends in time.",
    parameters=[
        RUN_ID,
        WAIT_FOR_END,
        KEY,
        IS_REPEAT,
        LOCATION,
        names_its_run(200, 202),
        *says_its_rates(200, 202, 429),
    ],
    body={"application/json": AGAIN_REQUEST},
    answer={
        **answered(
            "The run has ended within `wait`.",
            ref("StartedRun"),
            RUN,
        ),
        **answered("The new run is stored.", ref("StartedAgain"), STARTED_AGAIN, status=202),
    },
    problems=(
        "header-invalid",
        "idempotency-conflict",
        "not-found",
        "run-not-finished",
        "input-not-kept",
        "payload-erased",
        "flow-not-runnable",
        "busy",
        "payload-too-large",
        "queue-full",
        "throttled",
        "outcome-unknown",
    ),
    retry_after=(429, 503, 504),
)

CANCEL_RUNS = operation(
    "POST",
    "cancelRuns",
    "runs",
    "Cancel many runs",
    "Cancels each matching run that has not ended, the oldest first. Without a filter it takes"
    " `all`, so that a filter that is empty by mistake cancels nothing. The answer comes after a"
    " second at most; workers cancel those that are left by then. Runs that the caller may not"
    " cancel are left out, and so are runs that are started later. `countRuns` shows how many are"
    " left.",
    body={"application/json": CANCELLING_REQUEST},
    answer=answered(
        "Some are cancelled, or all, or only counted.", CANCELLING, CANCELLED, status=202
    ),
    problems=("search-too-long", "payload-too-large"),
)

ERASE_PAYLOADS = operation(
    "POST",
    "erasePayloads",
    "runs",
    "Erase the payloads of a run, or of all runs with a label",
    "Erases what travelled through the runs and what came of it: payloads, results, kept inputs,"
    " errors, logs, dead letters, texts of the search, what webhooks were answered, and idempotency"
    " keys, so that the same start is a new one. The runs that repeat them or that they repeat, and"
    " those that their scripts have started go with them. Runs stay with their times, statuses and"
    " labels, and have `erasedAt`; their open dead letters are discarded. Nothing is erased while"
    " one of them is under way: cancel it first. The caller needs the right to operate the flows of"
    " all of them; by a label, runs of other flows are left out. The answer comes after about a"
    " second; workers erase what is left by then. The audit log has an entry of each run. What was"
    " purged and is in an archive is erased by the command `erase`.",
    body={"application/json": ERASING_REQUEST},
    answer=answered("Some are erased, or all, or only counted.", ERASING, ERASED, status=202),
    problems=("not-found", "run-not-finished", "search-too-long", "payload-too-large"),
)

CANCEL_RUN = operation(
    "POST",
    "cancelRun",
    "runs",
    "Cancel a run",
    "Removes the run's waiting messages at once and stops its running script soon after. A run that"
    " has failed and goes on with other branches is cancelled, too, and its dead letters are"
    " discarded. A run that has ended does not change and is returned. The caller needs the right"
    " to operate the flow, or to start it for an own run.",
    parameters=THE_RUN,
    body=WITH_REASON,
    answer=answered("The run.", ref("Run"), RUN | {"status": Run.Status.CANCELLED.value}),
    problems=("not-found",),
)
