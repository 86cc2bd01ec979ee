from __future__ import annotations

from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import NoReturn
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from flows import engine
from flows.access.rights import may_cancel, runs_seen
from flows.api import parameters
from flows.api.errors import Problem
from flows.api.openapi.operations import CANCEL_RUN, GET_RUN, LIST_RUNS
from flows.api.pages import newest_page
from flows.api.reason import reason_of
from flows.api.view import ApiView, json_response
from flows.front.faults import TooManyWaiters
from flows.front.waiters import WAIT, Wait
from flows.models import Run
from flows.models.uuid7 import first_uuid7
from flows.monitoring.trace import summaries, trace_json, wait_until_finished

LONGEST_WAIT_SECONDS = 60.0
# Under a server without the front each waiting caller holds a thread. Beyond 8 a process refuses
# more, so that starts and probes always find a thread.
WAITING_ROOM = BoundedSemaphore(8)
# The id of a run has the clock of the process that started it; its row has the database's.
CLOCKS_APART = timedelta(minutes=5)


class RunsView(ApiView):
    query_parameters = frozenset(
        {"flowName", "status", "parent", "createdAfter", "createdBefore", "cursor"}
    )

    @extend_schema(**LIST_RUNS)
    def get(self, request: Request) -> HttpResponse:
        runs = parameters.matching(
            runs_seen(request.user),
            flow_version__flow_name=parameters.text(self.query, "flowName"),
            status=parameters.choice(self.query, "status", Run.Status.values),
            parent=parameters.correlation_id(self.query, "parent"),
        )
        runs = _created_between(
            runs,
            parameters.date_time(self.query, "createdAfter"),
            parameters.date_time(self.query, "createdBefore"),
        )
        runs = runs.select_related("flow_version").defer("result")
        return json_response(newest_page(request, self.query, runs, summaries))


class RunView(ApiView):
    query_parameters = frozenset({"wait"})

    @extend_schema(**GET_RUN)
    def get(self, request: Request, id: str) -> HttpResponse:
        seconds = parameters.seconds(self.query, "wait", LONGEST_WAIT_SECONDS)
        run = _find(request, id)
        if seconds and run.status not in Run.FINISHED:
            wait: Wait | None = request.META.get(WAIT)
            if wait is None:
                _wait_here(run, seconds)
                run = _find(request, id)
            elif not wait.is_over:
                wait.until_finished(run.pk, request.user.pk, seconds)
                return HttpResponse()
        return json_response(trace_json(run))


def _wait_here(run: Run, seconds: float) -> None:
    """Wait in this thread, because there is no front. Raises TooManyWaiters."""
    if not WAITING_ROOM.acquire(blocking=False):
        raise TooManyWaiters
    try:
        wait_until_finished(run.pk, seconds)
    finally:
        WAITING_ROOM.release()


class CancelRunView(ApiView):
    @extend_schema(**CANCEL_RUN)
    def post(self, request: Request, id: str) -> HttpResponse:
        run = _find(request, id)
        if not may_cancel(request.user, run):
            raise Problem("no-role", "None of your roles may cancel this run.")
        cancelled = engine.cancel(run, user=request.user, reason=reason_of(request))
        return json_response(trace_json(cancelled))


def _created_between(
    runs: QuerySet[Run], after: datetime | None, before: datetime | None
) -> QuerySet[Run]:
    """Return the runs of [after, before). The ids bound what the database has to look at."""
    if after:
        first = first_uuid7(after, -CLOCKS_APART)
        runs = runs.filter(pk__gte=first, created_at__gte=after)
    if before:
        last = first_uuid7(before, CLOCKS_APART)
        runs = runs.filter(pk__lt=last, created_at__lt=before)
    return runs


def _find(request: Request, text: str) -> Run:
    """Return the run. Raises Problem where there is none that the caller may see."""
    runs = runs_seen(request.user).select_related("flow_version")
    run = runs.filter(pk=_parse(text)).first()
    return run or _refuse()


def _parse(text: str) -> UUID:
    try:
        correlation_id = UUID(text)
    except ValueError:
        _refuse()
    # Python also accepts braces, "urn:" and ids without dashes. Such paths are not found.
    return correlation_id if str(correlation_id) == text.lower() else _refuse()


def _refuse() -> NoReturn:
    raise Problem("not-found", "There is no run of this id.")
