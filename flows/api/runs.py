from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import UUID

from django.db.models import Count, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from flows import engine
from flows.access.rights import may_cancel, runs_seen
from flows.api import parameters
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.run_operations import CANCEL_RUN, COUNT_RUNS, GET_RUN, LIST_RUNS
from flows.api.pages import PAGE_PARAMETERS, Order, page_of_rows
from flows.api.reason import reason_of
from flows.api.view import ApiView, is_about, json_response
from flows.api.waiting import LONGEST_WAIT_SECONDS, has_waited
from flows.models import Run
from flows.monitoring.trace import summaries, trace_json
from flows.options import key_fault
from flows.run_filter import RunFilter
from flows.store.bounded import OutOfTime, within

# What a list or a count may take. What is looked for may be anywhere among millions of runs.
SEARCH_SECONDS = 10.0
# Where rows that match are rare, a page is looked for along the index of ids for this time.
ALONG_INDEX_SECONDS = 1.0

FILTERS = frozenset(
    {
        "flowName",
        "parent",
        "startedBy",
        "idempotencyKey",
        "createdAfter",
        "createdBefore",
        "finishedAfter",
        "finishedBefore",
    }
)
ORDERS = {
    "createdAt": Order(is_descending=False),
    "-createdAt": Order(),
    # An index of it would cost each commit.
    "finishedAt": Order("finished_at", is_descending=False, by_index=False),
    "-finishedAt": Order("finished_at", by_index=False),
}
NEWEST_FIRST = "-createdAt"
NO_RUN = "There is no run of this id."


class FilteredView(ApiView):
    """What the operations have in common that are about the runs which match a query."""

    query_parameters = FILTERS
    repeatable_parameters = frozenset({"status", "label"})

    def runs(self, request: Request) -> QuerySet[Run]:
        """Return the matching runs that the caller may see."""
        query, statuses = self.query, self.repeated.get("status", [])
        for status in statuses:
            parameters.choice({"status": status}, "status", Run.Status.values)
        key = query.get("idempotencyKey")
        if key is not None and (fault := key_fault(key)):
            raise Problem.of_parameter("idempotencyKey", f"must {fault}")
        wanted = RunFilter(
            flow_name=parameters.text(query, "flowName"),
            statuses=statuses,
            labels=parameters.labels(self.repeated.get("label", [])),
            parent=parameters.correlation_id(query, "parent"),
            started_by=parameters.text(query, "startedBy"),
            idempotency_key=key,
            created_after=parameters.date_time(query, "createdAfter"),
            created_before=parameters.date_time(query, "createdBefore"),
            finished_after=parameters.date_time(query, "finishedAfter"),
            finished_before=parameters.date_time(query, "finishedBefore"),
        )
        return wanted.restrict(runs_seen(request.user), request.user)


class RunsView(FilteredView):
    query_parameters = FILTERS | PAGE_PARAMETERS | {"order"}

    @extend_schema(**LIST_RUNS)
    def get(self, request: Request) -> HttpResponse:
        runs = self.runs(request).select_related("flow_version", "started_by")
        runs = runs.defer(*Run.PAYLOADS)
        name = parameters.choice(self.query, "order", ORDERS) or NEWEST_FIRST
        order = ORDERS[name]
        if order.field != "pk":
            runs = runs.filter(finished_at__isnull=False)
        query = {**self.query, **self.repeated}

        def page(order: Order) -> HttpResponse:
            return json_response(page_of_rows(request, query, runs, summaries, order=order))

        if order.by_index:
            with suppress(OutOfTime), within(ALONG_INDEX_SECONDS):
                return page(order)
        with searching():
            return page(replace(order, by_index=False))


class CountRunsView(FilteredView):
    @extend_schema(**COUNT_RUNS)
    def get(self, request: Request) -> HttpResponse:
        counted = self.runs(request).order_by().values_list("status")
        with searching():
            found = dict(counted.annotate(count=Count("pk")))
        counts = {status: found.get(status, 0) for status in Run.Status.values}
        return json_response({"counts": counts, "total": sum(counts.values())})


@contextmanager
def searching() -> Iterator[None]:
    """Bound the time of the block's statements. Raises Problem."""
    try:
        with within(SEARCH_SECONDS):
            yield
    except OutOfTime as error:
        raise Problem("search-too-long") from error


class RunView(ApiView):
    query_parameters = frozenset({"wait"})

    @extend_schema(**GET_RUN)
    def get(self, request: Request, id: str) -> HttpResponse:
        seconds = parameters.seconds(self.query, "wait", LONGEST_WAIT_SECONDS)
        run = find_run(request, id, with_result=True)
        if seconds and run.status not in Run.FINISHED:
            if not has_waited(request, run.pk, seconds):
                return HttpResponse()
            run = find_run(request, id, with_result=True)
        return json_response(trace_json(run))


class CancelRunView(ApiView):
    @extend_schema(**CANCEL_RUN)
    def post(self, request: Request, id: str) -> HttpResponse:
        run = find_run(request, id)
        if not may_cancel(request.user, run):
            raise Problem("no-role", "None of your roles may cancel this run.")
        cancelled = engine.cancel(run, user=request.user, reason=reason_of(request))
        return json_response(trace_json(cancelled))


def find_run(request: Request, text: str, *, with_result: bool = False) -> Run:
    """Return the run. Raises Problem where there is none that the caller may see.

    `with_result`: the result is needed, too. Raises PayloadUnreadable then.
    """
    runs = runs_seen(request.user).select_related("flow_version", "started_by")
    unread = ("cancelled_input",) if with_result else Run.PAYLOADS
    run = runs.defer(*unread).filter(pk=parse_id(text, NO_RUN)).first()
    if run is None:
        raise Problem("not-found", NO_RUN)
    is_about(request, run.pk)
    return run


def parse_id(text: str, otherwise: str) -> UUID:
    """Return an id in a path. Raises Problem, with the detail, where it can be none."""
    with suppress(ValueError):
        # Python also accepts braces, "urn:" and ids without dashes. Such paths are not found.
        if str(id := UUID(text)) == text.lower():
            return id
    raise Problem("not-found", otherwise)
