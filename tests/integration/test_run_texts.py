"""Texts of runs are gathered beside the hot path, and the search finds them there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import Schedule

from flows import engine
from flows.models import Run, RunText, RunTextMark, StepRun
from flows.models.run_text import BEGINNING
from flows.monitoring import run_search
from flows.monitoring.run_search import rarest_part, runs_with
from flows.tasks import run_texts
from flows.tasks.allowed_tasks import ENGINE_TASKS
from flows.tasks.retention import purge
from flows.tasks.run_texts import gather
from tests.builders import ECHO, make_flow, run_of, work_until_idle
from tests.side_by_side import at_the_same_time, side_by_side

AT_ONCE = timedelta(0)
PICKY = (
    "def run(message, context):\n"
    "    raise ValueError('no shelf for ' + message['payload']['sku'])\n"
)


def run_with(flow, payload) -> Run:
    started = engine.start(flow.name, payload)
    work_until_idle(flow)
    return run_of(started.correlation_id)


def texts_of(run) -> list[str]:
    return list(RunText.objects.filter(run=run.pk).values_list("text", flat=True))


@pytest.fixture
def flow(db):
    return make_flow(codes=[ECHO, ECHO])


@pytest.fixture
def alone(monkeypatch):
    """Have the search look at what is gathered alone."""
    monkeypatch.setattr(run_search, "_look_at_newest", lambda *arguments: None)
    monkeypatch.setattr(run_search, "SECONDS_FOR_LETTERS", 0)


def found(text, runs=None) -> list[Run]:
    return [run_of(pk) for pk in runs_with(text, runs or Run.objects.all(), seconds=5).ids]


def test_the_first_call_begins_and_the_next_gathers_what_was_and_what_came(flow, alone):
    before = run_with(flow, {"order": "Zürich-1"})
    assert gather(settled=AT_ONCE) == 0
    later = run_with(flow, {"order": "Genf-2"})

    # The first of these notes what is there, the second gathers it.
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)

    assert found("zürich") == [before]
    assert found("genf-2") == [later]
    assert found("order") == [later, before]
    assert found("nowhere") == []
    mark = RunTextMark.objects.get()
    assert (mark.first, mark.last, mark.since) == (0, StepRun.objects.last().pk, None)


def test_a_text_is_gathered_once_without_the_id_around_it(flow):
    gather(settled=AT_ONCE)
    run = run_with(flow, {"order": "once"})

    for _ in range(3):
        gather(settled=AT_ONCE)

    assert texts_of(run) == ['{"order":"once"}']


@side_by_side
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["before", "behind"])
def test_no_text_stays_of_a_run_that_is_purged_while_it_is_gathered(monkeypatch, when):
    flow = make_flow(codes=[ECHO])
    gather(settled=AT_ONCE)
    run_with(flow, {"order": "gone"})
    gather(settled=AT_ONCE)
    real = run_texts._texts_of_runs

    def with_a_purge(ids):
        found = list(real(ids)) if when == "behind" else None
        assert at_the_same_time(lambda: purge(timezone.now() + timedelta(days=31))) == []
        return real(ids) if found is None else found

    monkeypatch.setattr(run_texts, "_texts_of_runs", with_a_purge)
    gather(settled=AT_ONCE)

    assert RunTextMark.objects.get().last > 0
    assert not RunText.objects.exclude(run__in=Run.objects.values("pk")).exists()


def test_step_runs_that_a_commit_may_still_add_are_waited_for(flow):
    gather()
    run = run_with(flow, {"order": "soon"})

    gather()

    assert texts_of(run) == []


def test_errors_are_found_without_their_dead_letters(db, alone):
    flow = make_flow(codes=[PICKY], max_deliveries=1)
    run = run_with(flow, {"sku": "X-9"})

    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)

    assert found("no shelf for X-9") == [run]


def test_the_payload_of_a_run_that_was_cancelled_while_it_waited_is_found(flow, alone):
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)
    run = run_of(engine.start(flow.name, {"order": "stopped-3"}).correlation_id)

    engine.cancel(run)

    assert found("stopped-3") == [run]


def test_what_is_found_follows_the_runs_that_are_asked_about(flow, alone):
    first, second = run_with(flow, {"order": "same"}), run_with(flow, {"order": "same"})
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)

    assert found("same", Run.objects.filter(pk__lt=second.pk)) == [first]


@pytest.mark.parametrize("text", ['{"order":5}', '"order":5', '":5', "ORDER", "der"])
def test_parts_with_signs_and_short_ones_are_found(flow, alone, text):
    run = run_with(flow, {"order": 5})
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)

    assert found(text) == [run]


@pytest.mark.parametrize("text", ['"order": 5', '"order":6', "%%%", "_rder"])
def test_a_text_is_not_found_by_a_part_of_it(flow, alone, text):
    run_with(flow, {"order": 5})
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)

    assert found(text) == []


def test_few_of_the_runs_that_have_a_text_are_asked_about(flow, alone, monkeypatch):
    runs = [run_with(flow, {"order": "same"}) for _ in range(3)]
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)
    monkeypatch.setattr(run_search, "ENOUGH", 1)

    assert found("same", Run.objects.filter(pk=runs[0].pk)) == [runs[0]]


def test_where_the_index_takes_too_long_the_newest_texts_are_searched(flow, alone, monkeypatch):
    run = run_with(flow, {"order": "slow"})
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)
    monkeypatch.setattr(run_search, "SECONDS_FOR_TEXTS", 0)

    answer = runs_with("slow", Run.objects.all(), seconds=5)

    assert (answer.ids, answer.until) == ([run.pk], None)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('"order":5000001,', "5000001"),
        ("the rating service", "service"),
        ('":{"', '":{"'),
        ("a b", "a b"),
        ("R-4711", "4711"),
    ],
)
def test_the_index_is_asked_for_the_part_that_few_have(text, part):
    assert rarest_part(text) == part


def test_texts_go_with_their_run(flow, alone):
    run = run_with(flow, {"order": "purged"})
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)
    assert texts_of(run)

    Run.objects.filter(pk=run.pk).delete()

    assert not RunText.objects.exists()
    assert found("purged") == []


def test_many_step_runs_are_gathered_batch_by_batch_until_the_time_is_over(flow, monkeypatch):
    monkeypatch.setattr(run_texts, "BATCH", 1)
    runs = [run_with(flow, {"order": f"n-{number}"}) for number in range(3)]
    gather(settled=AT_ONCE)

    assert gather(budget_seconds=0, settled=AT_ONCE) == 1
    assert RunTextMark.objects.get().since is not None
    gather(settled=AT_ONCE)

    assert all(texts_of(run) for run in runs)
    assert RunTextMark.objects.get().since is None


def test_the_beginning_of_a_long_text_is_gathered(flow, alone):
    run = run_with(flow, {"order": "head-4", "rest": "x" * 3 * BEGINNING + "tail-5"})
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)

    assert found("head-4") == [run]
    assert found("tail-5") == []


def test_the_list_says_until_when_all_texts_were_searched(flow, alone, admin_client):
    run_with(flow, {"order": "told"})
    gather(settled=AT_ONCE)
    gather(settled=AT_ONCE)

    response = admin_client.get("/admin/flows/run/", {"q": "told"})

    assert (
        "all kept payloads, results and errors of steps that ran until" in response.content.decode()
    )


def test_a_worker_of_the_engine_gathers_each_minute(db):
    schedule = Schedule.objects.get(name=run_texts.SCHEDULE)

    assert schedule.func in ENGINE_TASKS
    assert schedule.minutes == 1
