"""Check conservation once a day, and store what was found for pages that cannot wait for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
from django.db.models import Count
from django.utils import timezone
from django_q.models import Schedule
from django_q.tasks import async_task

from flows.models import ConservationCheck, DeadLetter, FlowTotals
from flows.monitoring import conservation
from flows.monitoring.conservation import Conservation
from flows.store import store
from flows.tasks.schedules import ensure

SCHEDULE = "asyncengine conservation"
KEPT = 30


def check_and_store() -> int:
    """Check every counter, store the result, and return how many faults there are."""
    recount_open_letters()
    return store_check(conservation.check())


def begin_check() -> None:
    """Have a worker check every counter, and store the result."""
    path = "flows.tasks.conservation.check_and_store"
    async_task(path, task_name="check of conservation", save=False)


def store_check(checked: list[Conservation]) -> int:
    """Store the result of a check and forget old ones; return how many faults it has."""
    faults = [f"{each.kind} {each.name}: {fault}" for each in checked for fault in each.faults()]
    with store().database.transaction():
        ConservationCheck.objects.create(
            checked_at=store().database.now(), faults=orjson.dumps(faults).decode()
        )
        kept = list(ConservationCheck.objects.values_list("pk", flat=True)[:KEPT])
        ConservationCheck.objects.exclude(pk__in=kept).delete()
    return len(faults)


def recount_open_letters() -> None:
    """Put the number of open dead letters right in the totals.

    A version of the engine from before these counters, which ran beside the upgrade, has made and
    decided dead letters that it did not count.
    """
    counted = _open_letters()
    for totals in FlowTotals.objects.all():
        if totals.open_letters != counted.get(totals.flow_name, 0):
            _recount(totals.flow_name)


def _recount(flow_name: str) -> None:
    with store().database.transaction():
        # A transaction that changes the number of letters locks this row last, so that it is seen
        # here with all that it has changed, or adds to the row later.
        totals = FlowTotals.objects.select_for_update().get(pk=flow_name)
        open_letters = _open_letters(step__flow_version__flow_name=flow_name).get(flow_name, 0)
        totals.letters_decided = totals.letters_made - open_letters
        totals.save(update_fields=["letters_decided"])


def _open_letters(**which: Any) -> dict[str, int]:
    letters = DeadLetter.objects.open().filter(**which).order_by()
    return dict(letters.values_list("step__flow_version__flow_name").annotate(n=Count("pk")))


def ensure_schedule(**kwargs: Any) -> None:
    """Have django-q2 check once a day: a receiver of post_migrate.

    A schedule that is there already stays as it was set.
    """
    ensure(
        SCHEDULE,
        kwargs.get("using", "default"),
        func="flows.tasks.conservation.check_and_store",
        schedule_type=Schedule.DAILY,
        next_run=timezone.now() + timedelta(days=1),
    )
