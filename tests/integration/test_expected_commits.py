"""Commits that do not wait for what they ask, on PostgreSQL: they end as those that wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import QuerySet

from flows import engine
from flows.errors import LeaseLost
from flows.models import (
    Consumer,
    Flow,
    FlowTotals,
    Message,
    Queue,
    QueueState,
    Run,
    Step,
    StepRun,
)
from flows.store import HeldMessage, Lease, store
from flows.store.asked import Asked, SeenQueue
from flows.store.expected import Expected
from flows.worker.redelivery import in_commit
from tests.builders import make_flow, open_lease
from tests.databases import is_postgresql
from tests.integration.deliveries import passed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not is_postgresql(), reason="what PostgreSQL alone has"),
]

# Of a flow by its name, and the lease of its first step.
Change = Callable[[str, Lease], object]


def commit(lease: Lease, held: list[HeldMessage]) -> list[HeldMessage]:
    results = [passed(each) for each in held]
    return store().commit(lease, results, in_commit, lambda plan, threads: 4)


def begun(name: str) -> tuple[Lease, list[HeldMessage]]:
    """Start a run, and take its first message as a worker that has seen the queues before."""
    make_flow(name)
    engine.start(name, {})
    lease = open_lease(f"{name}-0", threads=2)
    held = store().claim(lease, lambda plan, threads: 4)
    with store().database.transaction():
        ids = Queue.objects.values_list("pk", flat=True)
        queues = store().counters.lock(list(ids))
    Asked.seen.update((id, SeenQueue.of(queue)) for id, queue in queues.items())
    Expected.asks_until.clear()
    return lease, held


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each commit that waits for no answer, and each that turned out to have to."""
    noted: list[str] = []
    decided, was_wrong = Expected.decided, Expected.was_wrong

    def noting(self: Expected, *decision: Any) -> None:
        noted.append("expected")
        decided(self, *decision)

    def noting_wrong(self: Expected) -> None:
        noted.append("wrong")
        was_wrong(self)

    monkeypatch.setattr(Expected, "decided", noting)
    monkeypatch.setattr(Expected, "was_wrong", noting_wrong)
    return noted


def test_a_run_on_an_idle_system_waits_for_no_answer(tries):
    lease, held = begun("flow")

    while held:
        held = commit(lease, held)

    assert tries == ["expected"] * 3
    run = Run.objects.get()
    assert run.status == Run.Status.COMPLETED
    assert run.started_at <= run.finished_at
    steps = run.step_runs.order_by("id").values_list("step__name", flat=True)
    assert [*steps] == ["flow-0", "flow-1", "flow-2"]
    assert lease.closed
    assert not Consumer.objects.exists()
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
    assert FlowTotals.objects.get().completed == 1


def end_lease(name: str, lease: Lease) -> None:
    store().close(replace(lease))


def cancel(name: str, lease: Lease) -> None:
    engine.cancel(Run.objects.get(flow_version__flow_name=name))


def of_next_queue(**fields: Any) -> Change:
    return lambda name, lease: Queue.objects.filter(name=f"{name}-1").update(**fields)


def of_state(position: int, **fields: Any) -> Change:
    return lambda name, lease: QueueState.objects.filter(queue__name=f"{name}-{position}").update(
        **fields
    )


def pause_flow(name: str, lease: Lease) -> None:
    Flow.objects.filter(name=name).update(paused=True)


def take_away_threads(name: str, lease: Lease) -> None:
    Step.objects.filter(name=f"{name}-1").update(threads=1)


def take_threads(name: str, lease: Lease) -> None:
    open_lease(f"{name}-1", threads=3)


def let_another_wait_there(name: str, lease: Lease) -> None:
    engine.start(name, {})
    other, at_next = open_lease(f"{name}-0"), Queue.objects.filter(name=f"{name}-1")
    held = store().claim(other, lambda plan, threads: 4)
    at_next.update(paused=True)
    store().commit(other, list(map(passed, held)), in_commit, lambda plan, threads: 4)
    at_next.update(paused=False)


def remove_next_queue(name: str, lease: Lease) -> None:
    Step.objects.filter(name=f"{name}-1").delete()
    Queue.objects.get(name=f"{name}-1").delete()


def set_clock(name: str, lease: Lease) -> None:
    lease.clock_skew_seconds = 60.0


LATER = datetime.now(UTC) + timedelta(hours=1)
CHANGES: dict[str, Change] = {
    "the lease has ended": end_lease,
    "its run was cancelled": cancel,
    "the next queue is paused": of_next_queue(paused=True),
    "the next queue has a rate": of_next_queue(rate_count=1, rate_period=timedelta(hours=1)),
    "the next queue is bound": of_next_queue(cluster="elsewhere"),
    "the next queue is smaller": of_next_queue(size=1),
    "the next queue is gone": remove_next_queue,
    "the next queue goes slowly": of_state(1, slow_until=LATER),
    "the queue behind it is full": of_state(2, depth=1_000_000),
    "the flow is paused": pause_flow,
    "the next step has fewer threads": take_away_threads,
    "others have its threads": take_threads,
    "a message waits there": let_another_wait_there,
    "a clock was set": set_clock,
}


def found_after(name: str, change: Change, asks: bool) -> list[object]:
    """Return what a commit has done after a change, in terms that are the same for each flow."""
    lease, held = begun(name)
    change(name, lease)
    lease.is_alone = not asks
    try:
        taken: object = [each.deliveries for each in commit(lease, held)]
    except LeaseLost:
        taken = "lost"
    names = {queue.pk: queue.name.removeprefix(name) for queue in Queue.objects.all()}

    def rows(found: QuerySet[Any], *columns: str) -> list[Any]:
        return sorted(
            [names.get(first, first), *others] for first, *others in found.values_list(*columns)
        )

    runs = Run.objects.filter(flow_version__flow_name=name)
    states = QueueState.objects.filter(queue__name__startswith=name)
    consumers = Consumer.objects.filter(queue__name__startswith=name)
    return [
        taken,
        (lease.closed, lease.threads, names.get(lease.queue_id)),
        rows(consumers, "queue", "threads"),
        rows(states, "queue", "depth", "reserved", "delayed"),
        rows(runs, "status", "messages__deliveries"),
    ]


@pytest.mark.parametrize("changed", CHANGES)
def test_what_has_changed_meanwhile_counts_as_where_it_is_asked(tries, changed):
    asked = found_after("asked", CHANGES[changed], asks=True)
    assert tries == []

    found = found_after("other", CHANGES[changed], asks=False)

    assert tries == ["expected", "wrong"]
    assert found == asked


def test_a_session_asks_while_others_wait_where_it_is(tries):
    lease, held = begun("flow")
    engine.start("flow", {})
    lease.is_alone = False

    commit(lease, held)

    assert tries == []
    assert not lease.is_alone
    assert Message.objects.filter(consumer=lease.consumer_id).count() == 1


def test_a_connection_that_is_lost_there_is_no_reason_to_ask(tries, monkeypatch):
    lease, held = begun("flow")
    decided = Expected.decided

    def losing(self: Expected, *decision: Any) -> None:
        decided(self, *decision)
        store().database.write("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(Expected, "decided", losing)

    with pytest.raises(OperationalError):
        commit(lease, held)

    assert tries == ["expected"]
    [still] = store().held(lease)
    assert still.step_id == held[0].step_id
    assert lease.queue_id == lease.home_queue_id
    assert [*StepRun.objects.all()] == []
