"""What a flow keeps of its runs: everything, that of failed runs, or nothing."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from flows import engine
from flows.configuration import export_configuration, import_configuration
from flows.models import DeadLetter, Flow, Message, Run, StepRun
from flows.models.keep import Keep
from flows.store import sql, store
from flows.tasks.retention import purge
from tests.builders import ECHO, TRAIL, make_flow, run_of, work, work_until_idle

pytestmark = pytest.mark.django_db

PICKY = (
    "def run(message, context):\n"
    "    if 'fixed' not in message['payload']:\n"
    "        raise Reject('broken')\n"
    "    return message\n"
)
SPLIT = (
    "def run(message, context):\n"
    "    id = context.correlation_id\n"
    "    return [{'correlationId': id, 'payload': {'n': n}} for n in range(3)]\n"
)


def flow_that_keeps(keep: str, codes: list[str]) -> Flow:
    flow = make_flow(codes=codes)
    flow.keep = keep
    flow.save()
    return flow


def start(payload: dict | None = None) -> Run:
    return run_of(engine.start("flow", payload or {"n": 1}).correlation_id)


def inputs(run: Run) -> list[object]:
    """Return the payload that was kept with each attempt, in order; None: nothing."""
    kept = StepRun.objects.filter(run=run).order_by("id").values_list("input", flat=True)
    return [json.loads(text)["payload"] if text else None for text in kept]


def test_everything_is_kept_unless_the_flow_says_otherwise():
    flow = make_flow(codes=[TRAIL, TRAIL])
    run = start()

    work_until_idle(flow)

    assert inputs(run) == [{"n": 1}, {"n": 1, "trail": ["flow-0"]}]


def test_nothing_is_kept_where_the_flow_says_so():
    flow = flow_that_keeps(Keep.NOTHING, [TRAIL, PICKY])
    failed, completed = start(), start({"fixed": True})

    work_until_idle(flow)

    assert run_of(failed.pk).status == Run.Status.FAILED
    assert run_of(completed.pk).status == Run.Status.COMPLETED
    assert inputs(failed) == inputs(completed) == [None, None]


def test_of_failures_only_what_failed_runs_got_is_kept():
    flow = flow_that_keeps(Keep.FAILURES, [TRAIL, PICKY])
    failed, completed = start(), start({"fixed": True})

    work_until_idle(flow)

    assert inputs(completed) == [None, None]
    # What failed is in the dead letter.
    assert inputs(failed) == [{"n": 1}, None]
    assert json.loads(DeadLetter.objects.get().body)["payload"] == {"n": 1, "trail": ["flow-0"]}


def test_a_failed_run_that_completes_after_all_is_no_failure_any_more():
    flow = flow_that_keeps(Keep.FAILURES, [TRAIL, PICKY])
    run = start()
    work_until_idle(flow)

    engine.reprocess(DeadLetter.objects.get(), payload={"fixed": True})
    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.COMPLETED
    assert inputs(run) == [None, None, None]


def test_of_several_deliveries_the_last_one_keeps_the_input():
    code = (
        "def run(message, context):\n"
        "    if context.attempt < 3:\n"
        "        raise Retry(0, 'not yet')\n"
        "    return message\n"
    )
    flow = make_flow(codes=[code])
    run = start()

    for _ in range(3):
        Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
        work_until_idle(flow)

    assert inputs(run) == [None, None, {"n": 1}]


@pytest.mark.parametrize("keep", Keep.values)
def test_branches_keep_what_each_of_them_got(keep):
    flow = flow_that_keeps(keep, [SPLIT, ECHO])
    run = start()

    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.COMPLETED
    expected = [{"n": 1}, {"n": 0}, {"n": 1}, {"n": 2}]
    found = inputs(run)
    assert (
        found == [None] * 4
        if keep != Keep.EVERYTHING
        else sorted(found, key=str) == sorted(expected, key=str)
    )


def test_a_run_that_is_cancelled_while_it_waits_keeps_what_waited():
    make_flow(codes=[ECHO])
    run = start({"order": 7})

    engine.cancel(run)

    assert json.loads(run_of(run.pk).cancelled_input)["payload"] == {"order": 7}


@pytest.mark.parametrize("keep", [Keep.FAILURES, Keep.NOTHING])
def test_a_cancelled_run_keeps_nothing_where_not_everything_is_kept(keep):
    flow_that_keeps(keep, [ECHO, ECHO])
    run = start()

    engine.cancel(run)

    assert run_of(run.pk).cancelled_input is None


def test_of_a_large_input_the_beginning_is_kept_with_the_size_of_the_whole(settings):
    settings.ASYNCENGINE_MAX_KEPT_BYTES = 1000
    flow = make_flow(codes=[ECHO])
    large, small = start({"text": "ä" * 1000}), start({"text": "ä" * 400})

    work_until_idle(flow)

    kept = StepRun.objects.get(run=large)
    assert len(kept.input.encode()) in (999, 1000)
    assert kept.input_bytes > 2000
    assert StepRun.objects.get(run=small).input_bytes is None
    assert inputs(small) == [{"text": "ä" * 400}]
    assert len(json.loads(run_of(large.pk).result)["payload"]["text"]) == 1000


def test_an_input_is_stored_in_the_transaction_that_hands_the_output_over(monkeypatch):
    make_flow(codes=[ECHO, ECHO])
    run = start()
    database = type(store().database)
    each = database.each

    def fail_to_hand_over(self, batch, rows):
        if batch in (sql.KEEP, sql.HAND_OVER) and rows:
            raise RuntimeError("lost")
        each(self, batch, rows)

    with monkeypatch.context() as patch:
        patch.setattr(database, "each", fail_to_hand_over)
        work("flow-0")

    # Had the first try been stored in part, its attempt would be there with an input.
    assert inputs(run) == [None]
    assert json.loads(DeadLetter.objects.get().body)["payload"] == {"n": 1}


def test_runs_under_way_keep_as_they_started():
    flow = make_flow(codes=[ECHO])
    before = start()
    flow.keep = Keep.NOTHING
    flow.save()
    after = start()

    work_until_idle(flow)

    assert inputs(before) == [{"n": 1}]
    assert inputs(after) == [None]
    assert flow.versions.count() == 2


def test_what_is_kept_goes_with_its_run():
    flow = make_flow(codes=[ECHO])
    start()
    work_until_idle(flow)

    assert purge(timezone.now() + timedelta(days=40)) == 1

    assert not StepRun.objects.exists()


def test_a_document_has_the_setting_where_it_is_another_than_the_default():
    flow = make_flow(codes=[ECHO])
    assert "keep" not in export_configuration()["flows"][0]

    import_configuration({"flows": [{"name": "flow", "keep": "failures"}]})

    flow.refresh_from_db()
    assert flow.keep == Keep.FAILURES
    assert export_configuration()["flows"][0]["keep"] == "failures"


def test_processes_of_the_older_version_go_on_storing_rows():
    flow = make_flow(codes=[ECHO])
    version = flow.make_version()

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO flows_flowversion (id, flow_id, flow_name, number, created_at)"
            " VALUES (77, %s, 'flow', 77, %s)",
            [flow.pk, timezone.now()],
        )

    assert flow.versions.get(number=77).keep == version.keep == Keep.EVERYTHING
