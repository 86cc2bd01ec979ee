"""Schedules of flows: each time has one run, whatever is late, full, edited or killed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ

from flows import engine
from flows.configuration import (
    ConfigurationInvalid,
    export_configuration,
    import_configuration,
)
from flows.configuration.restoring import deleted_flows, restore
from flows.models import (
    AuditEntry,
    Flow,
    FlowSchedule,
    FlowScheduleState,
    Message,
    Queue,
    Run,
    RunLabel,
)
from flows.plan import flow_plan
from flows.store import store
from flows.tasks import flow_schedules
from flows.tasks.flow_schedules import ScheduleWatch, start_due
from tests.builders import ECHO, make_flow, work_until_idle
from tests.interleaving import waiting_for_locks
from tests.side_by_side import at_the_same_time, side_by_side
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db

EACH_SECOND = "* * * * * *"
EACH_YEAR = "0 0 1 1 *"
WAITS = "def run(message, context):\n    raise Wait(3600)\n"


@pytest.fixture
def standing_clock(monkeypatch) -> None:
    """Let no further second come meanwhile, however slow the machine is."""
    now = store().database.now()
    monkeypatch.setattr(store().database, "now", lambda: now)


def make_schedule(cron: str = EACH_YEAR, *, code: str = ECHO, **fields: Any) -> FlowSchedule:
    flow = Flow.objects.filter(name="flow").first() or make_flow(codes=[code])
    return FlowSchedule.objects.create(flow=flow, name="nightly", cron=cron, **fields)


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no second begin during the test, each brings a time of EACH_SECOND, and no year."""
    now = datetime(2030, 6, 15, 8, 30, 30, 500_000, tzinfo=UTC)
    monkeypatch.setattr(type(store().database), "now", lambda self: now)


def let_come(schedule: FlowSchedule, count: int = 1) -> None:
    """Let the last times of the schedule be those that nothing has served yet."""
    times = list(islice(schedule.times().before(store().database.now()), count))
    state = FlowScheduleState.objects.get(pk=schedule.pk)
    state.wait_for(times[-1])
    state.save()


def state_of(schedule: FlowSchedule) -> FlowScheduleState:
    return FlowScheduleState.objects.get(pk=schedule.pk)


@pytest.mark.usefixtures("standing_clock")
def test_a_time_that_has_come_starts_one_run_as_the_schedule_says(stopped_clock: None):
    payload = '{"rate": 1.50, "n": 12345678901234567890123}'
    labels = {"of": "night", "schedule": "another"}
    schedule = make_schedule(EACH_SECOND, payload=payload, labels=labels, priority=7)
    let_come(schedule)

    assert start_due() == 1

    run, state = Run.objects.get(), state_of(schedule)
    assert payload in Message.objects.get().body
    assert Message.objects.get().priority == 7
    labels = dict(RunLabel.objects.filter(run=run).values_list("key", "value"))
    assert labels == {"of": "night", "schedule": "nightly"}
    assert (state.last_run, state.problem) == (run.pk, "")
    assert state.time > state.last_time


def test_a_schedule_that_has_started_waits_for_its_next_time():
    schedule = make_schedule()
    let_come(schedule)

    started = [start_due() for _ in range(3)]

    assert started == [1, 0, 0]
    state = state_of(schedule)
    assert state.at == state.time > timezone.now()


@pytest.mark.parametrize(
    ("cron", "missed", "runs"),
    [
        (EACH_YEAR, "one", 1),
        (EACH_YEAR, "all", 3),
        (EACH_YEAR, "skip", 0),
        # They are late by seconds, so none is a missed one.
        (EACH_SECOND, "skip", 3),
        (EACH_SECOND, "one", 3),
        (EACH_SECOND, "all", 3),
    ],
)
@pytest.mark.usefixtures("standing_clock")
def test_times_that_were_missed_become_what_the_schedule_says(
    stopped_clock: None, cron: str, missed: str, runs: int
):
    schedule = make_schedule(cron, missed=missed)
    let_come(schedule, 3)

    assert start_due() == runs
    assert Run.objects.count() == runs
    assert state_of(schedule).time > store().database.now()


def test_after_a_long_time_away_the_last_hundred_are_started():
    schedule = make_schedule("* * * * *", missed="all")
    let_come(schedule, 150)

    assert start_due() == flow_schedules.MOST_MISSED
    assert state_of(schedule).at > store().database.now()


@pytest.mark.parametrize(("overlap", "runs"), [("start", 2), ("skip", 1), ("wait", 1)])
def test_a_run_that_has_not_ended_has_the_effect_that_the_schedule_says(overlap: str, runs: int):
    schedule = make_schedule(overlap=overlap, code=WAITS)
    let_come(schedule)
    start_due()
    let_come(schedule)

    start_due()

    assert Run.objects.count() == runs
    assert ("had not ended" in state_of(schedule).problem) == (overlap == "skip")


def test_a_time_that_waits_for_the_last_run_is_served_at_its_end():
    schedule = make_schedule(overlap="wait")
    let_come(schedule)
    start_due()
    let_come(schedule)
    assert start_due() == 0
    assert state_of(schedule).at > store().database.now()

    work_until_idle(schedule.flow)
    let_come(schedule)

    assert start_due() == 1


def test_a_time_that_waits_for_the_last_run_is_not_missed_however_long_that_takes():
    schedule = make_schedule(overlap="wait", missed="skip")
    let_come(schedule)
    FlowScheduleState.objects.update(last_run=engine.start("flow", {}).correlation_id)
    assert start_due() == 0
    work_until_idle(schedule.flow)
    FlowScheduleState.objects.update(at=store().database.now())

    assert start_due() == 1

    work_until_idle(schedule.flow)
    Run.objects.update(finished_at=timezone.now() - timedelta(hours=1))
    let_come(schedule)
    assert start_due() == 0
    state = state_of(schedule)
    assert state.at == state.time > store().database.now()


def test_a_full_queue_is_tried_again_and_loses_no_time():
    schedule = make_schedule()
    Queue.objects.update(size=1)
    let_come(schedule)
    start_due()
    let_come(schedule)
    due = state_of(schedule).time

    assert start_due() == 0

    full = state_of(schedule)
    assert (full.time, "full" in full.problem) == (due, True)
    assert full.at > store().database.now()
    work_until_idle(schedule.flow)
    FlowScheduleState.objects.update(at=due)
    assert start_due() == 1
    assert state_of(schedule).problem == ""


def test_a_payload_that_cannot_be_checked_for_now_is_tried_again_and_loses_no_time():
    schedule = make_schedule()
    script = schedule.flow.steps.get().script
    # With a look ahead: another process checks it, which has a share of its time for each schema.
    script.input_schema = {"properties": {"a": {"pattern": "^(?=b)"}}}
    script.save()
    let_come(schedule)
    due = state_of(schedule).time
    schema = flow_plan("flow").input_schema
    assert schema is not None
    schema._spent = 1e6

    assert start_due() == 0

    waiting = state_of(schedule)
    assert (waiting.time, "checked" in waiting.problem) == (due, True)
    assert waiting.at > store().database.now()
    script.input_schema = {}
    script.save()
    FlowScheduleState.objects.update(at=due)
    assert start_due() == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"active": False}, "inactive"),
        ({"name": "other"}, ""),
    ],
)
def test_a_flow_that_takes_no_starts_is_told_and_a_renamed_one_is_started(change: Any, said: str):
    schedule = make_schedule()
    let_come(schedule)
    for name, value in change.items():
        setattr(schedule.flow, name, value)
    schedule.flow.save()

    assert start_due() == (0 if said else 1)
    assert said in state_of(schedule).problem
    assert state_of(schedule).at > store().database.now()


def test_a_flow_that_is_renamed_just_then_is_started_by_its_new_name():
    schedule = make_schedule()
    let_come(schedule)
    due, renamed = state_of(schedule).time, list[int]()

    def rename(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # The schedule was read with its flow before the flow is looked up by its name.
        if "flows_configurationrevision" in sql and not renamed:
            renamed.append(Flow.objects.update(name="renamed"))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(rename):
        assert start_due() == 0

    assert (state_of(schedule).time, renamed) == (due, [1])
    assert state_of(schedule).at > store().database.now()
    # Here it went back with what the look had written.
    Flow.objects.update(name="renamed")
    FlowScheduleState.objects.update(at=due)
    assert start_due() == 1
    assert Run.objects.get().flow_version.flow == Flow.objects.get(name="renamed")


def test_a_payload_that_the_script_refuses_is_told():
    schedule = make_schedule(payload="[1]")
    let_come(schedule)

    assert start_due() == 0
    assert "must be a JSON object" in state_of(schedule).problem


def test_a_schedule_that_is_broken_keeps_no_other_waiting():
    broken = make_schedule()
    other = FlowSchedule.objects.create(flow=broken.flow, name="other", cron=EACH_YEAR)
    # Past the checks of the model.
    FlowSchedule.objects.filter(pk=broken.pk).update(labels=[1])
    for schedule in (broken, other):
        let_come(schedule)

    assert start_due() == 1

    assert state_of(other).last_run == Run.objects.get().pk
    assert "Not started" in state_of(broken).problem
    assert state_of(broken).at > store().database.now()


def test_a_schedule_begins_when_it_is_set():
    schedule = make_schedule()
    let_come(schedule)
    due = state_of(schedule).time

    schedule.payload = "{}"
    schedule.save()
    assert state_of(schedule).time == due

    schedule.active = False
    schedule.save()
    assert (state_of(schedule).time, state_of(schedule).at) == (None, None)
    assert start_due() == 0

    schedule.active = True
    schedule.save()
    assert state_of(schedule).time > timezone.now()

    let_come(schedule)
    schedule.cron = "30 12 * * *"
    schedule.save()
    assert state_of(schedule).time > timezone.now()


def test_jitter_is_the_same_for_the_same_time_and_spreads_others():
    schedule = make_schedule("*/10 * * * *", jitter=timedelta(minutes=5))
    times = list(islice(schedule.times().since(timezone.now()), 200))

    delays = [schedule.starts_at(time) - time for time in times]

    assert delays == [schedule.starts_at(time) - time for time in times]
    assert timedelta(0) <= min(delays) < timedelta(minutes=1)
    assert timedelta(minutes=4) < max(delays) < timedelta(minutes=5)


def test_each_time_has_its_run_however_large_the_jitter(monkeypatch):
    schedule = make_schedule("* * * * *", jitter=timedelta(hours=1))
    first = state_of(schedule).time
    moments = [first + timedelta(minutes=number) for number in range(10)]
    served = []

    for _ in moments:
        at = state_of(schedule).at
        monkeypatch.setattr(type(store().database), "now", lambda self, at=at: at)
        start_due()
        served.append(state_of(schedule).last_time)

    assert served == moments


def test_a_start_that_is_not_stored_leaves_the_schedule_as_it_was(monkeypatch):
    """As a kill between the start and the commit does."""
    schedule = make_schedule()
    let_come(schedule)
    due = state_of(schedule).time

    def killed(self, time):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FlowScheduleState, "wait_for", killed)
        with pytest.raises(KeyboardInterrupt):
            start_due()

    assert (Run.objects.count(), state_of(schedule).time) == (0, due)
    assert start_due() == 1


@side_by_side
@pytest.mark.django_db(transaction=True)
def test_clusters_that_look_at_the_same_time_start_one_run():
    schedule = make_schedule()
    let_come(schedule)

    assert at_the_same_time(*[start_due] * 5) == []

    assert Run.objects.count() == 1


@side_by_side
@pytest.mark.django_db(transaction=True)
def test_a_pause_keeps_what_is_edited_at_the_same_time():
    schedule, is_edited = make_schedule("0 5 * * *"), threading.Event()

    def edit() -> None:
        with transaction.atomic():
            row = FlowSchedule.objects.select_for_update(no_key=True).get()
            row.cron = "0 6 * * *"
            row.save()
            is_edited.set()
            wait_for(lambda: waiting_for_locks() > 0)

    def pause() -> None:
        assert is_edited.wait(PATIENCE)
        engine.set_active(FlowSchedule.objects.get(), False)

    assert at_the_same_time(edit, pause) == []

    schedule.refresh_from_db()
    assert (schedule.cron, schedule.active) == ("0 6 * * *", False)


@pytest.mark.usefixtures("standing_clock")
def test_the_broker_queues_a_task_for_each_time_that_has_come(monkeypatch):
    schedule, watch = make_schedule(EACH_SECOND), ScheduleWatch()
    FlowScheduleState.objects.update(at=timezone.now() + timedelta(hours=1))
    assert not watch.look()

    let_come(schedule, 2)
    assert [watch.look(), watch.look()] == [True, False]

    let_come(schedule, 1)
    assert [watch.look(), watch.look()] == [True, False]
    monkeypatch.setattr("flows.tasks.flow_schedules.QUEUE_AGAIN_SECONDS", 0.0)
    assert watch.look()
    assert OrmQ.objects.count() == 3


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "* * */20 * 1L"}, "cron"),
        ({"time_zone": "Berlin"}, "time_zone"),
        ({"jitter": timedelta(seconds=-1)}, "jitter"),
        ({"jitter": timedelta(days=2)}, "jitter"),
        ({"priority": 10}, "priority"),
        ({"payload": "[1]"}, "payload"),
        ({"payload": '{"a": 1, "a": 2}'}, "payload"),
        ({"labels": {"a:b": "c"}}, "labels"),
        ({"labels": {"a": 5}}, "labels"),
        ({"labels": [1]}, "labels"),
        ({"name": " "}, "name"),
        ({"name": "night\u3000run"}, "name"),
        ({"name": "night\xa0run"}, "name"),
    ],
)
def test_what_could_never_start_is_refused_when_it_is_saved(fields: Any, named: str):
    schedule = make_schedule()
    for name, value in fields.items():
        setattr(schedule, name, value)

    with pytest.raises(ValidationError) as refused:
        schedule.full_clean()

    assert set(refused.value.message_dict) == {named}


def test_changes_are_in_the_audit_log():
    schedule = make_schedule()
    schedule.cron = "0 1 * * *"
    schedule.save()

    entry = AuditEntry.objects.filter(verb="change").get()
    assert (entry.kind, entry.name) == ("schedule", "flow / nightly")
    assert entry.after == {"cron": "0 1 * * *"}


ENTRY = {
    "name": "nightly",
    "cron": "0 30 2 * * *",
    "timeZone": "Europe/Berlin",
    "payload": {"n": 1, "text": "ä"},
    "labels": {"of": "night"},
    "priority": 7,
    "missed": "all",
    "overlap": "wait",
    "jitterSeconds": 90,
    "active": False,
}


def document(*schedules: dict[str, Any]) -> dict[str, Any]:
    return {"flows": [{"name": "flow", "schedules": list(schedules)}]}


def schedules_of_export() -> list[dict[str, Any]]:
    (flow,) = export_configuration()["flows"]
    return flow.get("schedules", [])


def test_schedules_are_in_the_configuration_document_and_come_back_from_it():
    plain = {"name": "a", "cron": "* * * * *"}
    exact = plain | {"name": "b", "payload": '{"rate": 1.234567890123456789}'}
    added = import_configuration(document(ENTRY, exact, plain))

    assert schedules_of_export() == [plain, exact, ENTRY]
    assert len(added.items) == 1
    assert not import_configuration(export_configuration())
    assert FlowSchedule.objects.get(name="b").payload == exact["payload"]
    assert FlowScheduleState.objects.get(schedule__name="nightly").at is None

    changed = import_configuration(document(plain | {"cron": "5 * * * *"}, exact))
    assert changed.items[0].fields == (
        'schedule "nightly" removed',
        'schedule "a" cron "* * * * *" → "5 * * * *"',
    )
    import_configuration(document())
    assert schedules_of_export() == []


def test_an_import_leaves_a_schedule_paused_unless_it_says_otherwise():
    plain = {"name": "a", "cron": "* * * * *"}
    import_configuration(document(plain))
    engine.set_active(FlowSchedule.objects.get(), False)

    assert not import_configuration(document(plain))
    import_configuration(document(plain | {"cron": "5 * * * *"}))
    edited = FlowSchedule.objects.get()
    import_configuration(document(plain | {"active": True}))

    assert (edited.cron, edited.active) == ("5 * * * *", False)
    assert FlowSchedule.objects.get().active
    assert not import_configuration(document(plain | {"active": True}))


def test_each_fault_of_a_schedule_in_a_document_has_its_place():
    wrong = [
        ENTRY | {"cron": "61 * * * *", "timeZone": "UTC"},
        ENTRY | {"name": "b", "timeZone": "Berlin"},
        ENTRY | {"name": "c", "payload": "[]"},
        ENTRY | {"name": "d", "labels": {"a:b": "c"}},
        ENTRY,
    ]
    with pytest.raises(ConfigurationInvalid) as refused:
        import_configuration(document(*wrong))

    places = [fault["path"] for fault in refused.value.errors]
    assert places == [
        "flows[0].schedules[0].cron",
        "flows[0].schedules[1].timeZone",
        "flows[0].schedules[2].payload",
        "flows[0].schedules[3].labels",
        "flows[0].schedules[4].name",
    ]


@pytest.mark.parametrize("name", ["a/pause", "a/b", " a", ".."])
def test_a_name_that_no_address_can_have_is_refused_where_it_is_new(name):
    schedule = make_schedule("0 5 * * *")
    FlowSchedule.objects.update(name=name)
    stored = FlowSchedule.objects.get()
    kept = export_configuration()

    with pytest.raises(ConfigurationInvalid) as refused:
        import_configuration(document(ENTRY | {"name": f"{name}/"}))
    with pytest.raises(ValidationError, match="The name must not"):
        FlowSchedule(flow=schedule.flow, name=name, cron="0 5 * * *").full_clean()

    [fault] = refused.value.errors
    assert fault["path"] == "flows[0].schedules"
    assert f'the name "{name}/" must not' in fault["detail"]
    stored.full_clean()
    assert not import_configuration(kept)


def test_a_flow_that_is_restored_has_its_schedules():
    schedule = make_schedule("0 5 * * *")
    user = User.objects.create_superuser("admin")
    schedule.flow.delete()
    assert not FlowScheduleState.objects.exists()

    (record,) = deleted_flows()
    restore(record, user)

    assert FlowSchedule.objects.get().cron == "0 5 * * *"
    assert FlowScheduleState.objects.get().at > timezone.now()
