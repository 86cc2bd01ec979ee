"""The schedules of flows in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse

from flows.api.openapi.describe import answered, in_path, operation
from flows.api.openapi.examples import SCHEDULE
from flows.api.openapi.operations import PAGE, WITH_REASON
from flows.api.openapi.schemas import SCHEDULE_REQUEST, ref

OF = [in_path("name", "The flow's name."), in_path("schedule", "The schedule's name.")]
THE_SCHEDULE = answered("The schedule.", ref("Schedule"), SCHEDULE)
UNKNOWN = ("unknown-flow", "not-found")

LIST_SCHEDULES = operation(
    "GET",
    "listSchedules",
    "schedules",
    "List the schedules of a flow",
    "Returns the schedules of a flow that the caller may watch or operate, by name.",
    parameters=[OF[0], *PAGE],
    answer=answered(
        "A page of schedules, by name.",
        ref("SchedulePage"),
        {"results": [SCHEDULE], "next": None, "nextCursor": None},
    ),
    problems=("no-role", "unknown-flow"),
)

GET_SCHEDULE = operation(
    "GET",
    "getSchedule",
    "schedules",
    "See a schedule",
    "Returns the schedule with its next start and what became of the last one.",
    parameters=OF,
    answer=THE_SCHEDULE,
    problems=("no-role", *UNKNOWN),
)

SET_SCHEDULE = operation(
    "PUT",
    "setSchedule",
    "schedules",
    "Make or replace a schedule",
    "The flow has the schedule as the body describes it; what is left out is as by default. The"
    " next start is found anew where its times change. Needs the right to configure the flow.",
    parameters=OF,
    body={"application/json": SCHEDULE_REQUEST},
    answer={
        **THE_SCHEDULE,
        **answered("The schedule, which is new.", ref("Schedule"), SCHEDULE, status=201),
    },
    problems=(*UNKNOWN, "payload-too-large"),
)

REMOVE_SCHEDULE = operation(
    "DELETE",
    "removeSchedule",
    "schedules",
    "Remove a schedule",
    "The flow is not started by it any more; its runs stay. Needs the right to configure the flow.",
    parameters=OF,
    answer={204: OpenApiResponse(description="The schedule is removed.")},
    problems=UNKNOWN,
)

PAUSE_SCHEDULE = operation(
    "POST",
    "pauseSchedule",
    "schedules",
    "Pause a schedule",
    "It starts nothing until it is resumed, and misses no times meanwhile. A paused schedule does"
    " not change. Needs the right to operate the flow.",
    parameters=OF,
    body=WITH_REASON,
    answer=THE_SCHEDULE,
    problems=UNKNOWN,
)

RESUME_SCHEDULE = operation(
    "POST",
    "resumeSchedule",
    "schedules",
    "Resume a schedule",
    "It goes on with its next time. Needs the right to operate the flow.",
    parameters=OF,
    body=WITH_REASON,
    answer=THE_SCHEDULE,
    problems=UNKNOWN,
)
