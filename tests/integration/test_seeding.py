"""The command that fills a database makes what the engine itself could have left."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from flows.models import DeadLetter, FlowTotals, Message, Run, RunText, StepRun
from flows.monitoring.conservation import check
from flows.monitoring.curves import HOURS, curves
from flows.monitoring.trace import trace
from flows.store import store
from flows.tasks.counting import count
from flows.tasks.run_texts import gather

pytestmark = pytest.mark.django_db


def seed(**amounts: int) -> None:
    call_command("seed", stdout=StringIO(), **amounts)


def test_a_seeded_database_balances(monkeypatch):
    monkeypatch.setattr("flows.demo.seeding.CHUNK", 70)

    seed(runs=200, waiting=50, letters=7, queues=6, traced=30)

    assert [fault for checked in check() for fault in checked.faults()] == []
    assert Run.objects.filter(status="COMPLETED").count() == 193
    assert Run.objects.filter(status="FAILED").count() == 7
    assert Message.objects.count() == 50
    assert DeadLetter.objects.open().count() == 7
    assert StepRun.objects.values("run").distinct().count() == 30


def test_seeded_runs_are_found_by_their_text():
    seed(runs=20, waiting=2, letters=2, queues=3, traced=20)

    texts = RunText.objects.values_list("text", flat=True)

    assert texts.count() == 20
    assert [text for text in texts if '"order":7,' in text] == [
        '{"order":7,"amount":100}\n{"order":7}'
    ]
    assert texts.filter(text__contains="ValueError: the amount").exists()
    assert gather(settled=timedelta(0)) == 0


def test_seeded_runs_are_traced_as_others_are():
    seed(runs=20, waiting=2, letters=2, queues=3, traced=20)

    completed = trace(Run.objects.filter(status="COMPLETED").first())
    failed = trace(DeadLetter.objects.order_by("id").first().run)

    assert [step["status"] for step in completed["steps"]] == ["COMPLETED"] * 3
    assert failed["status"] == "FAILED"
    assert failed["error"] == "ValueError: the amount is not a number"


def test_seeded_flows_have_curves_and_their_totals_are_no_events_of_now():
    seed(runs=3000, waiting=20, letters=30, queues=3, traced=0)
    now = store().database.now()
    before = curves(HOURS, now)["seed-000", ""]

    count(now=now)

    assert curves(HOURS, now)["seed-000", ""] == before
    assert set(before.of("completed")) == {5}
    assert FlowTotals.objects.get().open_letters == 30


@pytest.mark.parametrize("letters", [0, 20])
def test_none_or_all_of_the_runs_may_have_failed(letters):
    seed(runs=20, waiting=0, letters=letters, queues=1, traced=0)

    assert DeadLetter.objects.count() == letters
    assert [fault for checked in check() for fault in checked.faults()] == []


def test_amounts_that_cannot_be_are_refused():
    with pytest.raises(CommandError, match="must not exceed --runs"):
        seed(runs=1, letters=2)
    with pytest.raises(CommandError, match="must not be negative"):
        seed(runs=-1, letters=-1)


def test_a_database_is_seeded_once():
    seed(runs=1, waiting=0, letters=0, queues=1, traced=0)

    with pytest.raises(CommandError, match="already"):
        seed(runs=1, waiting=0, letters=0, queues=1, traced=0)
