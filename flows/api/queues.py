from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import (
    Case,
    Count,
    F,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.http import HttpResponse
from rest_framework.request import Request

from flows import engine
from flows.access.rights import may, queues_seen
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import GET_QUEUE, LIST_QUEUES, PAUSE_QUEUE, RESUME_QUEUE
from flows.api.pages import PAGE_PARAMETERS, page_by_name
from flows.api.reason import reason_of
from flows.api.view import ApiView, json_response
from flows.models import DeadLetter, Message, Queue, Right
from flows.monitoring.wait_reason import PRIORITIES, QueueSnapshot
from flows.options import can_be_a_name

# Waiting messages are counted in queues with at most this many messages.
COUNTED = 10_000


class QueuesView(ApiView):
    query_parameters = PAGE_PARAMETERS

    @extend_schema(**LIST_QUEUES)
    def get(self, request: Request) -> HttpResponse:
        queues = queues_seen(request.user)
        return json_response(page_by_name(request, self.query, queues, documents))


class QueueView(ApiView):
    @extend_schema(**GET_QUEUE)
    def get(self, request: Request, name: str) -> HttpResponse:
        queue = find(request, name)
        return json_response(documents([queue])[0])


class PauseQueueView(ApiView):
    @extend_schema(**PAUSE_QUEUE)
    def post(self, request: Request, name: str) -> HttpResponse:
        queue = find_to_operate(request, name, "pause")
        engine.pause(queue, user=request.user, reason=reason_of(request))
        return json_response(documents([queue])[0])


class ResumeQueueView(ApiView):
    @extend_schema(**RESUME_QUEUE)
    def post(self, request: Request, name: str) -> HttpResponse:
        queue = find_to_operate(request, name, "resume")
        engine.resume(queue, user=request.user, reason=reason_of(request))
        return json_response(documents([queue])[0])


def find(request: Request, name: str) -> Queue:
    """Return the queue. Raises Problem where there is none, or none that the caller may see."""
    queues = queues_seen(request.user).select_related("step")
    queue = queues.filter(name=name).first() if can_be_a_name(name) else None
    if queue is None:
        raise Problem("unknown-queue", f"There is no queue {name!r}.")
    return queue


def find_to_operate(request: Request, name: str, verb: str) -> Queue:
    """Return the queue. Raises Problem as `find` does, or where the caller may only see it.

    The rights to a queue are those to the flow whose step it feeds.
    """
    queue = find(request, name)
    step = queue.fed_step
    if not may(request.user, Right.OPERATE, step.flow_id if step else None):
        raise Problem("no-role", f"None of your roles may {verb} the queue {name!r}.")
    return queue


def documents(queues: Sequence[Queue]) -> list[dict[str, Any]]:
    """Return the queues as they are shown; the number of queries does not grow with them."""
    ids = [queue.pk for queue in queues]
    snapshot = QueueSnapshot(Queue.objects.filter(pk__in=ids))
    counted = _counted(Queue.objects.filter(pk__in=ids)).in_bulk()
    delayed = _delayed(ids, snapshot.now)
    return [_document(counted[pk], delayed[pk], snapshot) for pk in ids if pk in counted]


def _document(queue: Any, delayed: int, snapshot: QueueSnapshot) -> dict[str, Any]:
    granted = snapshot.queues[queue.pk].granted
    oldest_at = snapshot.oldest_at(queue.pk)
    age = snapshot.now - oldest_at if oldest_at else None
    cause = snapshot.why_queue(queue.pk)
    return {
        "name": queue.name,
        "size": queue.size,
        "depth": queue.in_it,
        "running": _running(queue, granted),
        "delayed": delayed + queue.delayed_starts,
        "deadLetters": queue.dead,
        "oldestAgeSeconds": None if age is None else round(age.total_seconds(), 3),
        "paused": queue.paused,
        "ratePerSecond": _rate_per_second(queue),
        "cluster": queue.cluster or None,
        "waitingBecause": cause,
        "waitingCode": cause and cause.code,
    }


def _running(queue: Any, granted: int) -> int:
    """Return how many messages are at a script: at most one for each granted thread.

    No index leads to held messages. In a queue of moderate depth they are all that do not wait. A
    deep queue has enough messages for every granted thread.
    """
    held = queue.in_it if queue.waiting is None else queue.in_it - queue.waiting
    return min(held, granted)


def _rate_per_second(queue: Queue) -> float | None:
    if queue.rate_count is None:
        return None
    return queue.rate_count / queue.rate_period.total_seconds()


class CountOf(Subquery):
    """How many rows a subquery has."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


def _counted(queues: QuerySet[Queue]) -> QuerySet[Any]:
    """Add the counts in the statement that reads the depth, so that all are of the same time."""
    # The order and the limit make the database read the index, not the whole table.
    waiting = Message.objects.filter(queue=OuterRef("pk"), delayed=False)
    waiting = waiting.order_by("priority", "available_at")
    few = When(state__depth__lte=COUNTED, then=CountOf(waiting.values("priority")[:COUNTED]))
    return queues.annotate(
        in_it=F("state__depth"),
        delayed_starts=F("state__delayed"),
        waiting=Case(few, default=Value(None)),
        dead=DeadLetter.objects.all().open_in("step__queue"),
    )


def _delayed(ids: Sequence[int], now: datetime) -> Counter[int]:
    """Count by queue the messages that wait for a time. Delayed starts are not among them.

    With every priority named, the time bounds the range of the index that is read.
    """
    waiting = Message.objects.filter(queue__in=ids, priority__in=PRIORITIES, available_at__gt=now)
    waiting = waiting.filter(delayed=False)
    counts = waiting.order_by().values_list("queue").annotate(count=Count("queue"))
    return Counter(dict(counts))
