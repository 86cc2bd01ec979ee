"""Purging: what goes, what stays, and that the totals are right afterwards."""

import time
from datetime import timedelta
from io import StringIO
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from django_q.models import Schedule
from knox.models import AuthToken
from uuid_utils.compat import uuid7

from flows import engine
from flows.access.tokens import make_token
from flows.models import (
    DeadLetter,
    Flow,
    FlowTotals,
    FlowVersion,
    IdempotencyKey,
    Message,
    Run,
    StepRun,
    TokenUse,
)
from flows.monitoring.conservation import check
from flows.store import store
from flows.tasks import retention
from flows.tasks.retention import ensure_schedule, purge, purgeable
from tests.builders import ECHO, make_flow, open_lease, run_of, work_until_idle

pytestmark = pytest.mark.django_db

REJECT = "def run(message, context):\n    raise Reject('no')\n"
SPLIT = "def run(message, context):\n    return [{'payload': n} for n in range(2)]\n"
LATER = timedelta(days=31)


def start(flow: str, **options: object) -> UUID:
    return engine.start(flow, {}, **options).correlation_id


def later() -> int:
    """Purge as it would be in a month, and see that the totals are still right."""
    purged = purge(timezone.now() + LATER)
    assert [fault for checked in check() for fault in checked.faults()] == []
    return purged


def totals(flow: str) -> tuple[int, int, int, int]:
    totals = FlowTotals.objects.get(pk=flow)
    return totals.accepted, totals.completed, totals.failed, totals.cancelled


def test_a_completed_run_goes_with_all_that_belongs_to_it():
    flow = make_flow(codes=[ECHO, ECHO])
    start("flow", idempotency_key="key")
    work_until_idle(flow)

    assert later() == 1

    for model in (Run, StepRun, DeadLetter, IdempotencyKey):
        assert not model.objects.exists()
    assert totals("flow") == (0, 0, 0, 0)
    assert FlowVersion.objects.count() == 1


def test_each_flow_keeps_its_runs_as_long_as_it_says():
    short, long = make_flow("short", [ECHO]), make_flow("long", [ECHO])
    Flow.objects.filter(pk=short.pk).update(retention=timedelta(days=1))
    for flow in (short, long):
        start(flow.name)
        work_until_idle(flow)

    assert purge(timezone.now() + timedelta(days=2)) == 1

    assert Run.objects.get().flow_version.flow == long
    assert totals("short") == (0, 0, 0, 0)
    assert totals("long") == (1, 1, 0, 0)


def test_a_run_counts_from_its_end():
    flow = make_flow(codes=[ECHO])
    run_id = start("flow")
    work_until_idle(flow)
    Run.objects.filter(pk=run_id).update(finished_at=timezone.now() + timedelta(days=10))

    assert later() == 0


def test_live_runs_are_never_touched():
    flow = make_flow(codes=[ECHO, REJECT], threads=1)
    delayed = start("flow", start_at=timezone.now() + timedelta(days=365))
    work_until_idle(flow)
    waiting, held = start("flow"), start("flow")
    hold_one()
    before = set(Message.objects.values_list("pk", "queue", "consumer", "body"))

    assert later() == 0

    assert set(Run.objects.values_list("pk", flat=True)) == {delayed, waiting, held}
    assert set(Message.objects.values_list("pk", "queue", "consumer", "body")) == before


def hold_one() -> None:
    """Let a session take the message that waits first."""
    held = store().claim(open_lease("flow-0", 1), lambda plan, threads: 1)
    assert len(held) == 1


def test_a_cancelled_run_stays_while_its_script_is_being_stopped():
    make_flow(codes=[ECHO])
    run_id = start("flow")
    hold_one()
    engine.cancel(run_of(run_id))

    assert later() == 0
    assert run_of(run_id).status == Run.Status.CANCELLED


def test_a_cancelled_run_goes():
    make_flow(codes=[ECHO])
    engine.cancel(run_of(start("flow")))

    assert later() == 1
    assert totals("flow") == (0, 0, 0, 0)


def test_a_failed_run_stays_until_an_operator_has_decided_about_its_dead_letter():
    flow = make_flow(codes=[REJECT])
    start("flow")
    work_until_idle(flow)

    assert later() == 0
    assert totals("flow") == (1, 0, 1, 0)

    engine.discard(DeadLetter.objects.get())
    assert later() == 1
    assert totals("flow") == (0, 0, 0, 0)
    assert not DeadLetter.objects.exists()


def test_a_failed_run_is_kept_from_the_decision_on():
    flow = make_flow(codes=[REJECT])
    run_id = start("flow")
    work_until_idle(flow)
    engine.discard(DeadLetter.objects.get())
    Run.objects.filter(pk=run_id).update(finished_at=timezone.now() - timedelta(days=300))

    assert purge() == 0


def test_a_failed_run_with_a_branch_that_goes_on_stays():
    picky = (
        "def run(message, context):\n"
        "    if message['payload'] == 0:\n"
        "        raise Reject('no')\n"
        "    raise Retry(after=86400 * 365)\n"
    )
    flow = make_flow(codes=[SPLIT, picky])
    run_id = start("flow")
    work_until_idle(flow)
    engine.discard(DeadLetter.objects.get())
    assert run_of(run_id).status == Run.Status.FAILED

    assert later() == 0
    assert Message.objects.count() == 1


def test_a_run_stays_while_its_idempotency_key_counts():
    flow = make_flow(codes=[ECHO])
    Flow.objects.update(retention=timedelta(hours=1))
    run_id = start("flow", idempotency_key="key")
    work_until_idle(flow)

    assert purge(timezone.now() + timedelta(hours=23)) == 0
    assert start("flow", idempotency_key="key") == run_id

    assert purge(timezone.now() + timedelta(hours=25)) == 1


def test_expired_tokens_go_and_others_stay():
    user = User.objects.create_user("caller")
    make_token(user)
    AuthToken.objects.create(user, expiry=None)
    with_end = AuthToken.objects.get(expiry__isnull=False)

    uses = [with_end.pk, "of a token that is gone"]
    TokenUse.objects.bulk_create(TokenUse(token=pk, used_at=timezone.now()) for pk in uses)

    purge(with_end.expiry - timedelta(seconds=1))
    assert AuthToken.objects.count() == 2
    assert TokenUse.objects.get().pk == with_end.pk

    purge(with_end.expiry + timedelta(seconds=1))
    assert AuthToken.objects.get().expiry is None


def test_idempotency_keys_go_after_a_day():
    make_flow(codes=[ECHO])
    run_id = start("flow", idempotency_key="old")
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    start("flow", idempotency_key="new")

    assert purge() == 0

    assert IdempotencyKey.objects.get().key == "new"
    assert run_of(run_id).status == Run.Status.QUEUED


def test_runs_of_a_deleted_flow_are_kept_for_thirty_days():
    flow = make_flow(codes=[ECHO])
    start("flow")
    work_until_idle(flow)
    Flow.objects.all().delete()

    assert purge(timezone.now() + timedelta(days=29)) == 0
    assert purge(timezone.now() + timedelta(days=31)) == 1
    assert totals("flow") == (0, 0, 0, 0)


def test_it_purges_in_batches_and_stops_after_its_budget(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    flow = make_flow(codes=[ECHO])
    ids = engine.start_many("flow", [{}] * 7)
    work_until_idle(flow)

    assert purge(timezone.now() + LATER, budget_seconds=0) == 3
    assert set(Run.objects.values_list("pk", flat=True)) == set(sorted(ids)[3:])
    assert totals("flow") == (4, 4, 0, 0)
    assert later() == 4


def test_no_flow_waits_for_the_purge_of_another_that_never_ends(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 1)
    busy, other = make_flow("busy", codes=[ECHO]), make_flow("other", codes=[ECHO])
    engine.start_many("busy", [{}] * 30)
    start("other")
    for flow in (busy, other):
        work_until_idle(flow)

    for _ in range(20):
        purge(timezone.now() + LATER, budget_seconds=0)

    assert [run.flow_version.flow_name for run in Run.objects.all()] == ["busy"] * 11


def test_half_of_the_time_of_a_purge_belongs_to_others(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 1)
    flow = make_flow(codes=[ECHO])
    engine.start_many("flow", [{}] * 20)
    work_until_idle(flow)
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(retention.time, "sleep", pause)
    began = time.monotonic()
    assert purge(timezone.now() + LATER) == 20

    assert len(paused) >= 20
    assert sum(paused) > (time.monotonic() - began) / 2
    assert max(paused) < time.monotonic() - began


def test_what_stays_in_between_keeps_nothing_from_being_purged(monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    flow = make_flow(codes=[ECHO])
    ids = sorted(engine.start_many("flow", [{}] * 9))
    work_until_idle(flow)
    Run.objects.filter(pk__in=ids[:8:2]).update(finished_at=timezone.now() + timedelta(days=10))

    assert purge(timezone.now() + LATER) == 5
    assert set(Run.objects.values_list("pk", flat=True)) == set(ids[:8:2])


@pytest.mark.long
def test_thousands_of_runs_go():
    flow = make_flow(codes=[ECHO])
    version = flow.make_version()
    long_ago = timezone.now() - timedelta(days=90)
    milliseconds = int(long_ago.timestamp() * 1000)
    runs = [
        Run(
            pk=UUID(int=(milliseconds << 80) | (uuid7().int & ((1 << 80) - 1))),
            flow_version=version,
            status=Run.Status.COMPLETED,
            created_at=long_ago,
            finished_at=long_ago,
        )
        for _ in range(5000)
    ]
    Run.objects.bulk_create(runs)
    FlowTotals.objects.create(flow_name="flow", accepted=5000, completed=5000)

    # Each call has a time of its own, in which a busy machine may not come to the end.
    purged = sum(iter(purge, 0))

    assert purged == 5000
    assert totals("flow") == (0, 0, 0, 0)


def test_a_dry_run_counts_what_would_go():
    flow = make_flow(codes=[ECHO])
    engine.start_many("flow", [{}] * 2)
    work_until_idle(flow)
    engine.cancel(run_of(start("flow")))

    found = purgeable(timezone.now() + LATER)

    assert found == {("flow", "COMPLETED"): 2, ("flow", "CANCELLED"): 1}
    assert Run.objects.count() == 3


def test_the_command_purges_or_says_what_it_would():
    flow = make_flow(codes=[ECHO])
    start("flow")
    work_until_idle(flow)
    long_ago = timezone.now() - timedelta(days=90)
    Flow.objects.update(retention=timedelta(0))
    Run.objects.update(finished_at=long_ago)
    told, done = StringIO(), StringIO()

    call_command("purge", dry_run=True, stdout=told)
    assert told.getvalue() == "flow  COMPLETED  1\nRuns to be purged: 1\n"
    assert Run.objects.count() == 1

    call_command("purge", stdout=done)
    assert done.getvalue() == "Runs purged: 1\n"
    assert not Run.objects.exists()


def test_there_is_one_schedule_and_it_stays_as_an_operator_set_it():
    Schedule.objects.all().delete()

    ensure_schedule()
    schedule = Schedule.objects.get()
    assert (schedule.func, schedule.schedule_type, schedule.minutes) == (
        "flows.tasks.retention.purge",
        Schedule.MINUTES,
        10,
    )

    Schedule.objects.update(minutes=60)
    ensure_schedule()
    assert Schedule.objects.get().minutes == 60
