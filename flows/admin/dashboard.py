"""The first page of the Configuration Manager: what the engine is doing now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from flows.access.rights import (
    SEES_EVERY_RUN,
    dead_letters_seen,
    flows_allowed,
    queues_seen,
    runs_seen,
)
from flows.admin.by_role import has_right_somewhere, may_view, sees_every_flow
from flows.admin.conservation import totals_table
from flows.admin.display import (
    STATUS_LABELS,
    first_line,
    level,
    list_of,
    page_of,
    rounded,
)
from flows.admin.queues import step_fed_by
from flows.models import DeadLetter, Flow, Queue, Run
from flows.models.run import Status
from flows.models.uuid7 import first_uuid7
from flows.monitoring import conservation

PERIOD = timedelta(hours=24)
# Counting more takes seconds. The page shows the limit when the count reaches it.
MOST_COUNTED = 100_000
MOST_QUEUES = 12
MOST_DEAD_LETTERS = 8


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context of the page what the user may see."""
    user: Any = request.user
    if may_view(request, Run):
        context["run_counts"], context["runs_capped"] = _run_counts(user)
    if has_right_somewhere(request, SEES_EVERY_RUN):
        is_everywhere = sees_every_flow(request)
        flows = None if is_everywhere else flows_allowed(user, SEES_EVERY_RUN)
        context["totals"] = totals_table(flows)
        context["oldest"] = _oldest_without_progress(user)
        context["check_url"] = is_everywhere and reverse("admin:flows_run_conservation")
    if may_view(request, Queue):
        context["queue_rows"] = _queue_rows(user)
        context["queues_url"] = list_of(Queue)
    if may_view(request, DeadLetter):
        context["dead_letter_rows"] = _dead_letter_rows(user)
        context["dead_letters_url"] = list_of(DeadLetter, state="open")
    context["has_no_flows"] = sees_every_flow(request) and not Flow.objects.exists()
    context["flows_url"] = list_of(Flow)
    return context


def _run_counts(user: Any) -> tuple[list[dict[str, Any]], int | None]:
    """Return a card for each status, and the limit if the count reached it."""
    newest = runs_seen(user).filter(pk__gte=first_uuid7(timezone.now() - PERIOD))[:MOST_COUNTED]
    counts = newest.aggregate(
        **{status.value: Count("pk", filter=Q(status=status.value)) for status in Status}
    )
    cards = [
        {
            "status": status.value.capitalize(),
            "count": counts[status.value],
            "label": STATUS_LABELS[status.value],
            "url": list_of(Run, status=status.value, age="24h"),
        }
        for status in Status
    ]
    return cards, MOST_COUNTED if sum(counts.values()) >= MOST_COUNTED else None


def _oldest_without_progress(user: Any) -> dict[str, Any] | None:
    stale = conservation.oldest_without_progress(queues_seen(user))
    if stale is None:
        return None
    url = reverse("admin:flows_run_change", args=[stale.correlation_id])
    return {"stale": stale, "age": rounded(stale.age), "url": url}


def _queue_rows(user: Any) -> list[dict[str, Any]]:
    """Return the fullest queues."""
    queues = (
        queues_seen(user).select_related("state", "step__flow").order_by("-state__depth", "name")
    )
    return [
        {
            "queue": queue,
            "url": page_of(queue),
            "level": level(queue.depth, queue.size),
            "feeds": step_fed_by(queue),
            "flow_paused": hasattr(queue, "step") and queue.step.flow.paused,
        }
        for queue in queues[:MOST_QUEUES]
    ]


def _dead_letter_rows(user: Any) -> list[dict[str, Any]]:
    letters = dead_letters_seen(user).select_related("step__flow_version")
    return [
        {"letter": letter, "url": page_of(letter), "error": first_line(letter.error)}
        for letter in letters.order_by("-id")[:MOST_DEAD_LETTERS]
    ]
