"""`context.start(flow, payload)`: a script starts runs, which are stored with its output."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import engine
from flows.admin.flow_form import FlowForm
from flows.admin.flow_trial import try_flow
from flows.configuration import export_configuration, import_configuration
from flows.configuration.faults import ConfigurationInvalid
from flows.configuration.restoring import restore
from flows.models import (
    Consumer,
    DeadLetter,
    Flow,
    FlowState,
    FlowTotals,
    IdempotencyKey,
    Message,
    Queue,
    QueueState,
    RoleMapping,
    Run,
    RunDeadline,
)
from flows.models.step_restoring import restore_steps, starts_left_out
from flows.monitoring.conservation import check
from flows.monitoring.impact import flow_goes
from flows.monitoring.trace import trace
from flows.monitoring.wait_reason import why_run
from flows.starts import by_scripts
from flows.starts.by_scripts import StartService, derived_id
from flows.worker import transactional
from flows.worker.session import Session
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.services import RequestFailed
from scripts.trials.trial import run_trial
from tests.builders import ECHO, make_callable, make_flow, make_script, run_of, work_until_idle
from tests.integration.admin.pages import answer_dialog, form_data, messages_of
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "tests.integration.test_starts_by_scripts"
START = {
    "python": (
        "def run(m, c):\n"
        "    ids = [c.start('child', {'n': n, 'big': m['payload']['big']}) for n in range(3)]\n"
        "    m['payload']['ids'] = ids\n"
        "    return m\n"
    ),
    "javascript": (
        "const { payload } = context.Data;\n"
        "payload.ids = await Promise.all([0, 1, 2].map((n) =>\n"
        "  context.start('child', { n, big: payload.big })));\n"
        "setData(context.Data);\n"
    ),
}


def starts(message, context):
    payload = {"n": 0, "big": 1}
    message["payload"]["ids"] = [context.start("child", payload) for _ in range(2)]
    return message


def made(
    code: str, language: str = "python", *, may_start=("child",), steps: int = 2, size: int = 10
) -> Flow:
    """Make a flow that starts the flow `child`, which has one step."""
    make_flow("child", codes=[ECHO], size=size)
    flow = make_flow("parent", codes=[ECHO] * steps)
    step = flow.steps.get(position=0)
    step.script = make_script("starting", code, language=language)
    step.save()
    flow.may_start = list(may_start)
    flow.save()
    return flow


def started(user: Any = None, **payload: Any) -> Run:
    given = {"big": 12345678901234567890} | payload
    return run_of(engine.start("parent", given, user=user).correlation_id)


def work(*names: str) -> None:
    for name in names or ("parent", "child"):
        work_until_idle(Flow.objects.get(name=name))


def children(run: Run | None = None) -> list[Run]:
    runs = Run.objects.filter(flow_version__flow_name="child")
    return list(runs.filter(parent=run.pk) if run else runs)


def faults() -> list[str]:
    return [fault for each in check() for fault in each.faults()]


def error() -> str:
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.deliveries) == (DeadLetter.Reason.CANNOT_WORK, 1)
    assert children() == []
    return letter.error


@pytest.mark.parametrize("language", START)
def test_runs_are_started_with_the_output_and_name_their_parent(language):
    made(START[language], language)
    user = User.objects.create(username="carl")
    run = started(user)

    work("parent")
    before = [child.status for child in children(run)]
    work()

    found = {str(child.pk): child for child in children(run)}
    ids = json.loads(run_of(run.pk).result or "")["payload"]["ids"]
    assert before == ["QUEUED"] * 3
    assert set(ids) == set(found)
    bodies = [json.loads(found[id].result or "")["payload"] for id in ids]
    assert bodies == [{"n": n, "big": 12345678901234567890} for n in range(3)]
    assert {(c.status, c.started_by_id, c.start_depth) for c in found.values()} == {
        ("COMPLETED", user.pk, 1)
    }
    assert FlowTotals.objects.get(flow_name="child").accepted == 3
    assert faults() == []


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_callable_starts_runs(in_transaction, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    path = f"{HERE}.starts"
    flow = made(path)
    make_callable(path, in_transaction=in_transaction)
    run = started()

    work()

    assert flow.may_start == ["child"]
    ids = json.loads(run_of(run.pk).result or "")["payload"]["ids"]
    assert sorted(ids) == sorted(str(child.pk) for child in children(run))
    assert faults() == []


def starts_for_each(message, context):
    users = User.objects.order_by("pk").iterator(chunk_size=1)
    message["payload"]["ids"] = [context.start("child", {"n": each.pk}) for each in users]
    return message


def test_a_callable_starts_runs_while_it_reads_rows(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    User.objects.bulk_create([User(username=name) for name in "abc"])
    path = f"{HERE}.starts_for_each"
    made(path)
    make_callable(path)
    run = started()

    work()

    ids = json.loads(run_of(run.pk).result or "")["payload"]["ids"]
    assert len(ids) == 3
    assert sorted(ids) == sorted(str(child.pk) for child in children(run))
    assert faults() == []


@pytest.mark.parametrize("ending", ["raise ValueError('no')", "raise Reject('no')", "return 5"])
def test_a_script_that_fails_starts_nothing(ending):
    made(f"def run(m, c):\n    c.start('child', {{}})\n    {ending}\n")
    Queue.objects.filter(name="parent-0").update(max_deliveries=1)
    run = started()

    work()

    assert run_of(run.pk).status == Run.Status.FAILED
    assert children() == []
    assert faults() == []


def test_a_redelivery_starts_the_same_runs():
    code = (
        "def run(m, c):\n"
        "    id = c.start('child', {})\n"
        "    c.log(id)\n"
        "    if c.attempt < 3:\n"
        "        raise Retry(after=0)\n"
        "    return m\n"
    )
    made(code)
    run = started()

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    told = [attempt["logs"][0]["text"] for attempt in trace(run_of(run.pk))["steps"][0]["attempts"]]
    assert [str(child.pk) for child in children(run)] == [told[0]]
    assert told == [told[0]] * 3
    assert UUID(told[0]).version == 8


REFUSED = {
    "not allowed": ("c.start('other', {})", "may start 'child'"),
    "itself": ("c.start('parent', {})", "may start 'child'"),
    "no name": ("c.start(None, {})", "may start 'child'"),
    "a list": ("c.start('child', [1])", "payload"),
    "a wrong priority": ("c.start('child', {}, priority=10)", "priority must be"),
    "a wrong key": ("c.start('child', {}, key='')", ": key must"),
    "no time": ("c.start('child', {}, start_at='soon')", "start_at (startAt) is a time"),
    "no zone": ("c.start('child', {}, start_at='2030-01-01T00:00:00')", "time zone"),
    "too late": ("c.start('child', {}, start_at='2999-01-01T00:00:00Z')", "days from now"),
    "a wrong label": ("c.start('child', {}, labels={'a:b': '1'})", "a key has no colon"),
    "labels of numbers": ("c.start('child', {}, labels={'a': 1})", "printable characters"),
    "a deadline that is over": ("c.start('child', {}, deadline=0)", "must be later than"),
    "no deadline": ("c.start('child', {}, deadline='soon')", "deadline is a time"),
    "another payload": ("[c.start('child', {'n': n}, key='k') for n in (1, 2)]", "key"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_repetition_heals_makes_a_dead_letter_at_once(kind):
    call, told = REFUSED[kind]
    make_flow("other", codes=[ECHO])
    made(f"def run(m, c):\n    {call}\n    return m\n")
    started()

    work()

    assert told in error()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("await context.start('other', {}); setData(context.Data);", "may start 'child'"),
        ("context.start('other', {}); setData(context.Data);", "may start 'child'"),
        ("await context.start('child', {}, {priority: 11}); setData(context.Data);", "priority"),
        ("await context.start('child', {}, {labels: 1}); setData(context.Data);", "labels must be"),
    ],
)
def test_javascript_is_refused_alike(code, told):
    made(code, "javascript")
    started()

    work()

    assert told in error()


def test_a_payload_that_does_not_match_the_flow_is_refused_at_the_call():
    made("def run(m, c):\n    c.start('child', {'n': 'x'})\n    return m\n")
    child = Flow.objects.get(name="child").steps.get().script
    child.input_schema = {"properties": {"n": {"type": "integer"}}}
    child.save()
    started()

    work()

    assert "n" in error()


def test_more_runs_than_a_message_may_start_are_refused():
    made(
        "def run(m, c):\n    for n in range(101):\n        c.start('child', {})\n    return m\n",
        size=1000,
    )
    started()

    work()

    assert "at most 100 runs" in error()


@pytest.mark.parametrize("option", ["", ", start_at=at"])
def test_more_runs_than_their_queue_ever_holds_are_refused_at_once(option):
    made(
        "from datetime import UTC, datetime, timedelta\n"
        "def run(m, c):\n    at = datetime.now(UTC) + timedelta(1)\n    for n in range(3):\n"
        f"        c.start('child', {{}}, key=str(n){option})\n"
        "        c.start('child', {}, key='0'" + option + ")\n    return m\n",
        size=2,
    )
    started()

    work()

    assert re.search("as many runs as the queue 'child.*' holds, 2", error())
    assert children() == []


@pytest.fixture
def at_once(monkeypatch):
    """Check the first three starts before one of them is noted."""
    served, first, asked_for = threading.Barrier(3), iter(range(3)), by_scripts._asked_for

    def together(*given: Any) -> Any:
        found = asked_for(*given)
        if next(first, None) is not None:
            served.wait(PATIENCE)
        return found

    monkeypatch.setattr(by_scripts, "_asked_for", together)


def test_starts_at_once_that_their_queue_never_holds_are_refused(at_once):
    made(START["javascript"], "javascript", size=2)
    started()

    work()

    assert re.search("as many runs as the queue 'child.*' holds, 2", error())


def test_starts_at_once_with_one_key_start_one_run(at_once):
    code = (
        "const { payload } = context.Data;\n"
        "payload.ids = await Promise.all([0, 1, 2].map((n) =>\n"
        "  context.start('child', {}, { key: 'k' })));\n"
        "setData(context.Data);\n"
    )
    made(code, "javascript")
    run = started()

    work()

    [child] = children(run)
    assert json.loads(run_of(run.pk).result or "")["payload"]["ids"] == [str(child.pk)] * 3
    assert faults() == []


def test_an_inactive_flow_is_tried_again():
    made("def run(m, c):\n    c.start('child', {})\n    return m\n")
    Flow.objects.filter(name="child").update(active=False)
    run = started()

    work()
    waiting = Message.objects.get().available_at > timezone.now()
    Flow.objects.filter(name="child").update(active=True)
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))
    work()

    assert waiting
    assert [child.status for child in children(run)] == ["COMPLETED"]


def test_a_script_may_catch_that_a_start_is_refused():
    made(
        "def run(m, c):\n    try:\n        c.start('other', {})\n    except ValueError as e:\n"
        "        m['payload']['kind'] = e.kind\n    return m\n"
    )
    run = started()

    work()

    assert json.loads(run_of(run.pk).result or "")["payload"]["kind"] == "start-refused"


COUNTED = "def run(m, c):\n    c.start('child', {})\n    c.log('ran')\n    return m\n"


def test_a_run_whose_starts_find_no_room_always_says_for_which_queue_it_waits():
    made(COUNTED, size=1)
    runs = [started() for _ in range(2)]
    work("parent")
    now = timezone.now()
    queue = Queue.objects.get(name="parent-0")
    Consumer.objects.create(
        queue=queue, threads=4, cluster="", machine="m", pid=1, created_at=now, heartbeat_at=now
    )
    waiting = Message.objects.filter(pending_outputs=True)
    [run] = [each for each in runs if Message.objects.of_run(each.pk).filter(pending_outputs=True)]

    found = []
    for seconds in (60, -60):
        waiting.update(available_at=timezone.now() + timedelta(seconds=seconds))
        found.append(why_run(run))

    told = "The queue 'child-0' of the flow 'child' is full: 1 of 1 messages, and it starts 1."
    assert [each and each.code for each in found] == ["started-queue-full"] * 2
    assert [str(each).partition(" It looks")[0] for each in found] == [told] * 2


@pytest.mark.parametrize("steps", [1, 2])
def test_a_full_queue_holds_the_output_back_and_the_script_does_not_run_again(steps):
    made(COUNTED, steps=steps, size=1)
    runs = [started() for _ in range(3)]

    work("parent")
    waiting = Message.objects.filter(pending_outputs=True).count()
    found = faults()
    first = len(children())

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert (waiting, first, found) == (2, 1, [])
    assert [run_of(run.pk).status for run in runs] == ["COMPLETED"] * 3
    assert [len(children(run)) for run in runs] == [1] * 3
    attempts = [trace(run_of(run.pk))["steps"][0]["attempts"] for run in runs]
    assert [[a["attempt"] for a in each] for each in attempts] == [[1]] * 3
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
    assert faults() == []


def test_a_list_and_a_way_wait_for_room_with_their_starts():
    code = (
        "def run(m, c):\n    c.start('child', {})\n"
        "    return c.go('parent-2', [m | {'payload': n} for n in range(3)])\n"
    )
    flow = made(code, steps=3, size=1)
    flow.steps.filter(position=0).update(goes_to=["parent-2"])
    runs = [started() for _ in range(2)]

    work("parent")
    waiting = Message.objects.filter(pending_outputs=True).count()

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert waiting == 1
    for run in runs:
        assert [each["payload"] for each in json.loads(run_of(run.pk).result or "")] == [0, 1, 2]
        assert [step["status"] for step in trace(run_of(run.pk))["steps"]] == [
            "COMPLETED",
            "SKIPPED",
            "COMPLETED",
        ]
    assert faults() == []


def test_a_finished_run_waits_for_room_with_its_starts():
    made("def run(m, c):\n    c.start('child', {})\n    return c.finish([1])\n", size=1)
    runs = [started() for _ in range(2)]

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert [json.loads(run_of(run.pk).result or "") for run in runs] == [[1]] * 2
    assert [len(children(run)) for run in runs] == [1, 1]
    assert faults() == []


def test_a_run_that_is_cancelled_while_it_waits_for_room_starts_nothing():
    made(COUNTED, size=1)
    runs = [started() for _ in range(2)]

    work("parent")
    [waiting] = Message.objects.filter(pending_outputs=True).values_list("run", flat=True)
    engine.cancel(run_of(waiting))
    work()

    assert [len(children(run)) for run in runs if run.pk == waiting] == [0]
    # Its step has kept what it got; what it gave is no input of another.
    assert run_of(waiting).cancelled_input is None
    assert len(children()) == 1
    assert faults() == []


def test_a_look_for_room_is_no_script_that_gets_through():
    made(COUNTED, size=1)
    for _ in range(2):
        started()
    work("parent")
    until = timezone.now() + timedelta(hours=1)
    states = QueueState.objects.filter(queue__name="parent-0")
    states.update(slow_until=until)
    now = timezone.now()
    Message.objects.filter(pending_outputs=True).update(available_at=now - timedelta(seconds=1))

    work("parent")

    assert Message.objects.get(pending_outputs=True).available_at > now
    assert states.get().slow_until == until


def test_a_key_starts_one_run_of_all_messages():
    made("def run(m, c):\n    m['payload'] = c.start('child', {}, key='k')\n    return m\n")
    runs = [started() for _ in range(5)]

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    [child] = children()
    assert {json.loads(run_of(r.pk).result or "")["payload"] for r in runs} == {str(child.pk)}
    assert IdempotencyKey.objects.get().run_id == child.pk
    assert faults() == []


def test_the_state_of_a_flow_names_the_run_that_a_key_has_started(at_once):
    made(
        "def run(m, c):\n"
        "    m['payload'] = c.start('child', {}, key='k')\n"
        "    c.state.set(m['correlationId'], m['payload'])\n"
        "    return m\n"
    )
    runs = [started() for _ in range(3)]

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    [child] = children()
    assert {json.loads(run_of(r.pk).result or "")["payload"] for r in runs} == {str(child.pk)}
    values = dict(FlowState.objects.values_list("key", "value"))
    assert values == {str(run.pk): json.dumps(str(child.pk)) for run in runs}
    assert faults() == []


def test_a_script_whose_key_is_used_meanwhile_does_not_read_what_it_has_left(at_once):
    made(
        "def run(m, c):\n"
        "    key = m['correlationId']\n"
        "    if c.state.get(key) is None:\n"
        "        c.state.set(key, 7)\n"
        "    else:\n"
        "        c.state.increment(key)\n"
        "    c.start('child', {}, key='k')\n"
        "    return m\n"
    )
    runs = [started() for _ in range(3)]

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    values = dict(FlowState.objects.values_list("key", "value"))
    assert values == {str(run.pk): "7" for run in runs}
    assert faults() == []


def starts_with_a_key_and_writes(message, context):
    if message["payload"]["counts"]:
        context.state.increment("calls")
    message["payload"] = id = context.start("child", {}, key="k")
    run = message["correlationId"]
    User.objects.create(username=str(uuid4()), first_name=run, last_name=id)
    return message


@pytest.mark.parametrize("counts", [False, True])
def test_a_callable_in_a_transaction_whose_key_is_used_writes_once(settings, monkeypatch, counts):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    # Together in one transaction.
    monkeypatch.setattr(Session, "_batch_size", lambda session, plan, threads: 10)
    monkeypatch.setattr(transactional, "TRANSACTION_SECONDS", 60)
    path = f"{HERE}.starts_with_a_key_and_writes"
    made(path)
    make_callable(path, in_transaction=True)
    runs = [started(counts=counts) for _ in range(4)]

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    [child] = children()
    assert {json.loads(run_of(r.pk).result or "")["payload"] for r in runs} == {str(child.pk)}
    written = User.objects.values_list("first_name", "last_name")
    assert sorted(written) == sorted((str(run.pk), str(child.pk)) for run in runs)
    assert [*FlowState.objects.values_list("value", flat=True)] == ["4"] * counts
    assert faults() == []


TRIED: set[str] = set()


def starts_at_the_first_try(message, context):
    if message["correlationId"] not in TRIED:
        TRIED.add(message["correlationId"])
        context.start("child", {}, key="k")
    return message


def test_a_callable_in_a_transaction_starts_what_its_last_try_asks_for(settings, monkeypatch):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    # The second one finds its key used in their transaction, which is made again.
    monkeypatch.setattr(Session, "_batch_size", lambda session, plan, threads: 10)
    monkeypatch.setattr(transactional, "TRANSACTION_SECONDS", 60)
    path = f"{HERE}.starts_at_the_first_try"
    made(path)
    make_callable(path, in_transaction=True)
    runs = [started() for _ in range(2)]

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert {str(run.pk) for run in runs} <= TRIED
    assert {run_of(run.pk).status for run in runs} == {Run.Status.COMPLETED}
    assert children() == []
    assert faults() == []


TRIES: Counter[str] = Counter()


def counts_its_tries(message, context):
    run = message["correlationId"]
    TRIES[run] += 1
    context.state.set(run, context.state.get(run, 0) + 1)
    if message["payload"]["starts"]:
        context.start("child", {}, key="k")
    return message


def test_callables_of_a_commit_that_is_taken_back_read_what_is_stored(settings, monkeypatch):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    # Together in one transaction, which the second start takes back.
    monkeypatch.setattr(Session, "_batch_size", lambda session, plan, threads: 10)
    monkeypatch.setattr(transactional, "TRANSACTION_SECONDS", 60)
    path = f"{HERE}.counts_its_tries"
    made(path)
    make_callable(path, in_transaction=True)
    runs = [str(started(starts=number < 2).pk) for number in range(4)]

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert {run: TRIES[run] for run in runs} == dict.fromkeys(runs, 2)
    assert dict(FlowState.objects.values_list("key", "value")) == dict.fromkeys(runs, "1")
    assert len(children()) == 1
    assert faults() == []


@pytest.mark.parametrize("fans_out", [False, True])
def test_messages_that_wait_for_room_with_one_key_all_name_its_run(fans_out):
    output = "[m]" if fans_out else "m"
    made(
        "def run(m, c):\n    c.start('child', {})\n"
        f"    m['payload'] = c.start('child', {{}}, key='k')\n    return {output}\n",
        size=2,
    )
    runs = [started() for _ in range(3)]
    engine.start("child", {})

    work("parent")
    waiting = Message.objects.filter(pending_outputs=True).count()

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    results = [json.loads(run_of(run.pk).result or "") for run in runs]
    named = {(each[0] if fans_out else each)["payload"] for each in results}
    assert waiting > 1
    assert named == {str(IdempotencyKey.objects.get().run_id)}
    assert len(children()) == 1 + 4
    assert faults() == []


def test_a_look_for_room_asks_for_all_keys_at_once():
    made(
        "def run(m, c):\n    for n in range(9):\n"
        "        c.start('child', {}, key=f'{m[\"payload\"][\"n\"]}-{n}')\n    return m\n",
        size=10,
    )
    numbers = {started(n=number).pk: number for number in range(2)}
    work("parent")
    waiting = Message.objects.get(pending_outputs=True)
    # Either was taken first.
    number = numbers[waiting.run_id]
    Message.objects.filter(pending_outputs=True).update(available_at=timezone.now())

    with CaptureQueriesContext(connection) as asked:
        work("parent")

    statements = [each["sql"] for each in asked if "flows_idempotencykey" in each["sql"]]
    assert statements
    assert all(f"'{number}-{n}'" in each for n in range(9) for each in statements)
    assert Message.objects.filter(pending_outputs=True).count() == 1


def test_a_key_with_another_payload_is_refused_later_too():
    code = "def run(m, c):\n    c.start('child', {'n': m['payload']['n']}, key='k')\n    return m\n"
    made(code)
    started(n=1)
    work()
    started(n=2)

    work()

    assert (
        "Idempotency" in DeadLetter.objects.get().error or "key" in DeadLetter.objects.get().error
    )
    assert len(children()) == 1


def test_a_delayed_start_with_a_priority_waits_for_its_time():
    code = (
        "def run(m, c):\n"
        "    c.start('child', {}, priority=8, start_at=m['payload']['at'])\n    return m\n"
    )
    made(code)
    at = timezone.now() + timedelta(hours=1)
    started(at=at.isoformat())

    work()

    message = Message.objects.get()
    assert (message.priority, message.delayed, message.available_at) == (8, True, at)
    assert QueueState.objects.get(queue__name="child-0").delayed == 1
    assert faults() == []


OPTIONS = {
    "python": (
        "from datetime import timedelta\n"
        "def run(m, c):\n"
        "    labels = {'order': '47:11', 'shop': 'A'}\n"
        "    c.start('child', {}, key='k', labels=labels, deadline=timedelta(hours=1))\n"
        "    return m\n"
    ),
    "javascript": (
        "const labels = { order: '47:11', shop: 'A' };\n"
        "await context.start('child', {}, { key: 'k', labels, deadline: 3600 });\n"
        "setData(context.Data);\n"
    ),
}


@pytest.mark.parametrize("size", [10, 1])
@pytest.mark.parametrize("language", OPTIONS)
def test_a_start_has_labels_and_a_deadline_of_its_own(language, size):
    made(OPTIONS[language], language, size=size)
    # With room for one, the start waits until this one has gone.
    engine.start("child", {})
    parent = engine.start("parent", {}, labels={"parent": "1"}, deadline=timedelta(days=1))

    work("parent")
    waits = Message.objects.filter(run=parent.correlation_id, pending_outputs=True).exists()

    def look() -> bool:
        work()
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert waits is (size == 1)
    [child] = children(run_of(parent.correlation_id))
    assert [str(label) for label in child.labels.all()] == ["order:47:11", "shop:A"]
    left = RunDeadline.objects.get(pk=child.pk).at - child.created_at
    assert timedelta(minutes=50) < left < timedelta(minutes=61)
    assert faults() == []


def test_a_flow_that_starts_itself_ends_at_a_depth_with_an_error():
    flow = make_flow("parent", codes=["def run(m, c):\n    c.start('parent', {})\n    return m\n"])
    flow.may_start = ["parent"]
    flow.save()
    engine.start("parent", {})

    work("parent")

    assert Run.objects.count() == 21
    assert "20 runs above this one" in DeadLetter.objects.get().error
    assert faults() == []


def test_two_flows_that_start_each_other_go_on():
    code = "def run(m, c):\n    n = m['payload']['n']\n    {}\n    return m\n"
    for name, other in (("one", "two"), ("two", "one")):
        start = f"n and c.start('{other}', {{'n': n - 1}})"
        flow = make_flow(name, codes=[code.format(start)])
        flow.may_start = [other]
        flow.save()
    engine.start("one", {"n": 6})

    def look() -> bool:
        work("one", "two")
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert Run.objects.filter(status="COMPLETED").count() == 7
    assert faults() == []


# --- seen from outside -------------------------------------------------------------------------


def test_the_pages_and_the_api_lead_from_one_to_the_other(admin_client):
    made("def run(m, c):\n    c.start('child', {})\n    return m\n")
    run = started()
    work()
    [child] = children(run)

    def page(of: Run) -> str:
        return admin_client.get(f"/admin/flows/run/{of.pk}/change/").content.decode()

    assert trace(child)["parentCorrelationId"] == str(run.pk)
    assert trace(run)["parentCorrelationId"] is None
    assert f"/admin/flows/run/{child.pk}/change/" in page(run)
    assert f"/admin/flows/run/{run.pk}/change/" in page(child)


def test_what_a_flow_may_start_is_part_of_its_version_and_of_the_document():
    flow = made(ECHO)
    before = flow.make_version()
    [entry] = [each for each in export_configuration()["flows"] if each["name"] == "parent"]
    flow.may_start = []
    flow.save()

    after = flow.make_version()

    assert entry["starts"] == ["child"]
    assert after.number == before.number + 1
    assert (before.may_start, after.may_start) == (["child"], [])
    with pytest.raises(ConfigurationInvalid, match="there is no flow"):
        import_configuration({"flows": [{"name": "x", "steps": [], "starts": ["nowhere"]}]})


def test_a_flow_with_a_new_name_may_be_started_by_that_name_by_all_that_might():
    made(ECHO, may_start=["child", "parent"])
    child = Flow.objects.get(name="child")
    child.may_start = ["parent", "child"]
    child.name = "kid"

    child.save()

    assert Flow.objects.get(name="parent").may_start == ["kid", "parent"]
    assert Flow.objects.get(name="kid").may_start == ["parent", "kid"]
    assert Flow.objects.get(name="parent").history.first().may_start == ["kid", "parent"]


def test_a_flow_with_a_new_name_may_be_started_by_the_next_version():
    made("def run(m, c):\n    c.start('kid', {'n': 1})\n    return m\n")
    child = Flow.objects.get(name="child")
    child.name = "kid"
    child.save()

    run = started()
    work("parent")

    [started_run] = Run.objects.filter(parent=run.pk)
    assert started_run.flow_version.flow_name == "kid"


def test_the_page_of_a_flow_tells_whose_scripts_name_the_old_name(admin_client):
    made(ECHO)
    child = Flow.objects.get(name="child")
    page = reverse("admin:flows_flow_change", args=[child.pk])
    data = form_data(admin_client.get(page)) | {"name": "kid"}

    answer = admin_client.post(page, data, follow=True)

    assert "keep that right: parent. Their code still names child" in answer.content.decode()
    assert Flow.objects.get(name="parent").may_start == ["kid"]


def test_a_restored_version_adds_no_flow_to_start():
    flow = made(ECHO, may_start=("child", "parent"))
    before = flow.make_version()
    flow.may_start = ["parent"]
    flow.save()

    restore_steps(before)

    assert Flow.objects.get(pk=flow.pk).may_start == ["parent"]


def renamed(old: str, new: str) -> None:
    flow = Flow.objects.get(name=old)
    flow.name = new
    flow.save()


def test_a_restored_version_keeps_the_starts_of_flows_that_have_new_names_since():
    flow = made(ECHO, may_start=("child",))
    before = flow.make_version()
    renamed("child", "kid")
    # Another flow with the old name is not meant.
    Flow.objects.create(name="child")

    restored = restore_steps(before)

    assert restored.may_start == ["kid"]
    assert starts_left_out(before, restored) == []


def test_a_restored_version_tells_which_starts_it_does_not_give_back(admin_client):
    flow = made(ECHO, may_start=("child", "other", "parent"))
    make_flow("other", codes=[ECHO])
    flow.refresh_from_db()
    before = flow.make_version()
    renamed("other", "another")
    Flow.objects.get(name="child").delete()
    flow.refresh_from_db()
    flow.may_start = ["parent"]
    flow.save()
    flow.make_version()
    path = reverse("admin:flows_flowversion_restore", args=[before.pk])

    told = messages_of(answer_dialog(admin_client, path))

    assert Flow.objects.get(name="parent").may_start == ["parent"]
    assert told[-2:] == [
        "The flow 'child', which it could start, was deleted.",
        "It could start another: its page gives that right again.",
    ]


def test_a_deleted_flow_is_started_by_none_and_another_with_its_name_by_none_either():
    made(ECHO, may_start=["child", "parent"])
    child = Flow.objects.get(name="child")
    [note] = [each for each in flow_goes(child) if "start it" in each]

    child.delete()
    Flow.objects.create(name="child")

    parent = Flow.objects.get(name="parent")
    assert parent.may_start == ["parent"]
    assert parent.history.first().may_start == ["parent"]
    assert note == "The scripts of parent cannot start it any more."


def test_flows_that_are_deleted_together_leave_no_list_with_them():
    made(ECHO, may_start=["child"])
    make_flow("third", codes=[ECHO])

    Flow.objects.filter(name__in=["child", "third"]).delete()

    assert Flow.objects.get(name="parent").may_start == []


def test_a_flow_that_is_restored_may_start_the_flows_that_it_could_start_by_their_new_names():
    flow = made(ECHO, may_start=["child", "other", "parent"])
    make_flow("other", codes=[ECHO])
    flow.delete()
    record = Flow.history.filter(name="parent", history_type="-").get()
    renamed("child", "kid")
    Flow.objects.get(name="other").delete()

    restored = restore(record, User.objects.create(username="root", is_superuser=True))

    assert restored.may_start == ["kid", "parent"]


@pytest.mark.parametrize(
    ("rights", "is_saved"),
    [
        ({"parent": ["configure"]}, False),
        ({"parent": ["configure"], "child": ["watch"]}, False),
        ({"parent": ["configure"], "child": ["operate"]}, False),
        ({"parent": ["configure"], "child": ["start"]}, True),
        ({"parent": ["configure"], "child": ["configure"]}, True),
    ],
)
def test_who_adds_a_flow_to_start_may_start_or_configure_it(rights, is_saved):
    flow = made(ECHO, may_start=())
    user = User.objects.create(username="carl", is_staff=True)
    role = Group.objects.create(name="role")
    user.groups.add(role)
    for name, those in rights.items():
        for right in those:
            target = Flow.objects.get(name=name)
            RoleMapping.objects.create(role=role, right=right, flow=target)
    form = type("Form", (FlowForm,), {"user": user})
    data = {each: getattr(flow, each) for each in ("name", "keep")} | {"retention": "30 days"}
    made_form = form({**data, "active": "on", "may_start": ["child"]}, instance=flow)

    assert ("may_start" not in made_form.errors) == is_saved


def test_a_trial_shows_what_would_be_started_and_stores_nothing(admin_user):
    code = "def run(m, c):\n    c.start('child', {'n': 1}, key='k')\n    return m\n"
    flow = made(code)

    trial = try_flow(flow, "{}", admin_user)
    flow.may_start = []
    refused = try_flow(flow, "{}", admin_user)

    asked = {"flow": "child", "payload": '{"n":1}', "options": {"key": "k"}}
    assert trial.tried[0].trial.starts == [asked]
    assert "may start none" in str(refused.tried[0].trial.error)
    assert not Run.objects.exists()


def test_a_trial_of_a_callable_shows_what_would_be_started(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    program = Program(0, "starting", "callable", f"{HERE}.starts", 20, 64)

    trial = run_trial(program, b'{"correlationId":"c","payload":{}}')

    asked = {"flow": "child", "payload": '{"n":0,"big":1}', "options": {}}
    assert (trial.error, trial.starts) == (None, [asked] * 2)


# --- forged requests ---------------------------------------------------------------------------


FORGED = {
    "flow": st.sampled_from(["child", "parent", "other", "", None, 7, ["child"], "child\0"]),
    "payload": st.sampled_from(["{}", '{"n":1}', "[]", "{", "", None, 7, "\ud800", "1e999"]),
    "key": st.sampled_from([None, "k", "", 7, "k" * 300, ["k"], "a\nb"]),
    "priority": st.sampled_from([None, 0, 9, -1, 10, 1.5, True, "5", 2**70]),
    "labels": st.sampled_from([None, "{}", '{"a":"1"}', '{"a":1}', "[1]", "{", "", 7, "\ud800"]),
    "deadline": st.sampled_from([None, 60, 0, 1e308, -1, True, "2090-01-01T00:00:00Z", "x", [1]]),
    "startAt": st.sampled_from([None, "2030-01-01T00:00:00Z", "", 7, "x", "2030-01-01"]),
    "ordinal": st.sampled_from([0, 1, 99, 100, -1, None, "0", 1.0, True, 2**70]),
    "id": st.just("00000000-0000-7000-8000-000000000000"),
    "parent": st.just("00000000-0000-7000-8000-000000000000"),
    "depth": st.just(-5),
}


@settings(max_examples=60)
@given(requests=st.lists(st.fixed_dictionaries({}, optional=FORGED), max_size=4))
def test_a_forged_request_starts_what_is_allowed_or_nothing(requests):
    if not Flow.objects.exists():
        made(ECHO)
        started()
    run = Run.objects.get()
    site = CallSite("parent", "parent-0", "parent-0", False, starts=("child",))
    call = Call("key", str(run.pk), 1, f"{run.pk}/parent-0", b"{}")

    for request in requests:
        with suppress(RequestFailed):
            StartService().serve_call(site, call, call.starts, request, time.monotonic() + 5)

    for ordinal, child in call.starts.items():
        assert 0 <= ordinal < 100
        assert (child.flow_name, child.parent, child.depth) == ("child", run.pk, 1)
        assert child.correlation_id == derived_id(run.pk, call.delivery_id, ordinal)
