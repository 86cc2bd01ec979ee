"""`context.go(step, output)`: a message goes on at a later step, past those between."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import engine
from flows.admin.flow_trial import try_flow
from flows.configuration import export_configuration, import_configuration
from flows.configuration.faults import ConfigurationInvalid
from flows.models import (
    BranchEnd,
    DeadLetter,
    Flow,
    FlowTotals,
    Message,
    Queue,
    QueueState,
    Run,
    Step,
)
from flows.monitoring.conservation import check
from flows.monitoring.trace import trace
from scripts.models import Script
from tests.builders import ECHO, make_callable, make_flow, make_script, run_of, work_until_idle
from tests.examples import examples
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db

HERE = "tests.integration.test_go"
NOT_TO_RUN = "def run(message, context):\n    raise ValueError('it ran')\n"
WAYS = {
    "given": ("python", "def run(m, c):\n    return c.go('flow-3', m)\n"),
    "returned": (
        "python",
        "def run(m, c):\n    c.go('flow-2')\n    c.go('flow-3')\n    return m\n",
    ),
    "after finish": ("python", "def run(m, c):\n    c.finish(1)\n    return c.go('flow-3', m)\n"),
    "in JavaScript": ("javascript", "context.go('flow-3', context.Data);"),
    "by setData": ("javascript", "context.go('flow-3'); setData(context.Data);"),
    "last of both": ("javascript", "context.finish(1); context.go('flow-3', context.Data);"),
    "asynchronously": ("javascript", "await null; setData(context.Data); context.go('flow-3');"),
}
REFUSED = {
    "earlier": ("python", "def run(m, c):\n    return c.go('flow-0', m)\n"),
    "itself": ("python", "def run(m, c):\n    return c.go(c.step, m)\n"),
    "unknown": ("python", "def run(m, c):\n    return c.go('nowhere', m)\n"),
    "not listed": ("python", "def run(m, c):\n    return c.go('flow-4', m)\n"),
    "no name": ("python", "def run(m, c):\n    return c.go(None, m)\n"),
    "earlier in JavaScript": ("javascript", "context.go('flow-0', context.Data);"),
    "not listed in JavaScript": ("javascript", "context.go('flow-4', context.Data);"),
    "no name in JavaScript": ("javascript", "context.go({}, context.Data);"),
}
SPLIT = (
    "def run(m, c):\n"
    "    return [{'correlationId': c.correlation_id, 'payload': {'n': n}}"
    " for n in range(m['payload']['count'])]\n"
)
GATHER = "def run(m, c):\n    return [p['n'] for p in m['payload']]\n"


def goes(message, context):
    return context.go("flow-2", message)


def made(code: str, language: str = "python", *, steps: int = 5, ways=("flow-3",)) -> Flow:
    """Make a flow whose second step has the code; those that it goes past must not run."""
    flow = make_flow(codes=[ECHO, ECHO, NOT_TO_RUN, *[ECHO] * (steps - 3)])
    step = flow.steps.get(position=1)
    step.script = make_script("going", code, language=language)
    step.goes_to = list(ways)
    step.save()
    return flow


def started(payload: Any = None) -> Run:
    return run_of(engine.start("flow", payload or {"n": 1}).correlation_id)


def statuses(run: Run) -> list[str]:
    return [step["status"] for step in trace(run_of(run.pk))["steps"]]


def books_are_balanced(completed: int, failed: int = 0) -> bool:
    totals = FlowTotals.objects.get()
    return (
        set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}
        and not Message.objects.exists()
        and not BranchEnd.objects.exists()
        and (totals.completed, totals.failed) == (completed, failed)
    )


@pytest.mark.sampled(3)
@pytest.mark.parametrize("way", WAYS)
def test_a_message_goes_past_steps_which_are_skipped(way, admin_client):
    language, code = WAYS[way]
    flow = made(code, language)
    run = started({"big": 12345678901234567890})

    work_until_idle(flow)

    assert run_of(run.pk).status == Run.Status.COMPLETED
    assert json.loads(run_of(run.pk).result or "")["payload"] == {"big": 12345678901234567890}
    assert statuses(run) == ["COMPLETED", "COMPLETED", "SKIPPED", "COMPLETED", "COMPLETED"]
    assert books_are_balanced(1)
    page = admin_client.get(reverse("admin:flows_run_change", args=[run.pk])).content.decode()
    assert page.count("The run has left out this step.") == 1


def test_a_script_may_always_go_to_the_next_step():
    flow = made("def run(m, c):\n    return c.go('flow-2', m)\n", ways=())
    Step.objects.filter(name="flow-2").update(script=make_script("echo"))
    run = started()

    work_until_idle(flow)

    assert statuses(run) == ["COMPLETED"] * 5


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_callable_goes_past_a_step(in_transaction, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    path = f"{HERE}.goes"
    flow = make_flow(codes=[path, NOT_TO_RUN, ECHO])
    Step.objects.filter(name="flow-0").update(goes_to=["flow-2"])
    make_callable(path, in_transaction=in_transaction)
    run = started()

    work_until_idle(flow)

    assert statuses(run) == ["COMPLETED", "SKIPPED", "COMPLETED"]
    assert books_are_balanced(1)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", REFUSED)
def test_a_step_that_is_not_allowed_makes_a_dead_letter_at_once_that_names_those_that_are(kind):
    language, code = REFUSED[kind]
    flow = made(code, language)
    run = started()

    work_until_idle(flow)

    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.deliveries) == (DeadLetter.Reason.CANNOT_WORK, 1)
    assert "it may go to 'flow-2', 'flow-3'" in letter.error
    assert run_of(run.pk).status == Run.Status.FAILED
    assert books_are_balanced(0, failed=1)


def test_a_script_may_catch_that_a_step_is_not_allowed():
    code = (
        "def run(m, c):\n    try:\n        c.go('nowhere')\n    except ValueError:\n"
        "        return c.go('flow-3', m)\n"
    )
    flow = made(code)
    run = started()

    work_until_idle(flow)

    assert statuses(run)[2:] == ["SKIPPED", "COMPLETED", "COMPLETED"]


def test_going_without_an_output_names_how_to_give_one():
    flow = made("def run(m, c):\n    return c.go('flow-3')\n")
    started()

    work_until_idle(flow)

    assert "context.go('flow-3', output)" in DeadLetter.objects.get().error


def test_a_full_queue_of_a_step_that_it_may_go_to_holds_the_message_before_its_script_runs():
    flow = made(WAYS["given"][1])
    Queue.objects.filter(name="flow-3").update(size=1, paused=True)
    runs = [started() for _ in range(3)]

    work_until_idle(flow)
    waiting = dict(Message.objects.values_list("step__name", "deliveries").order_by("step"))
    attempts = [len(trace(run)["steps"][1]["attempts"]) for run in runs]
    Queue.objects.filter(name="flow-3").update(paused=False)

    def look() -> bool:
        work_until_idle(flow)
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert waiting.keys() == {"flow-1", "flow-3"}
    assert sorted(attempts) == [0, 0, 1]
    assert [statuses(run)[2] for run in runs] == ["SKIPPED"] * 3
    assert books_are_balanced(3)


def test_a_list_goes_past_a_step_and_what_finds_no_room_follows():
    code = (
        "def run(m, c):\n    return c.go('flow-3', [{'correlationId': c.correlation_id,"
        " 'payload': {'n': n}} for n in range(5)])\n"
    )
    flow = made(code)
    Queue.objects.filter(name="flow-3").update(size=5)
    Queue.objects.filter(name="flow-3").update(paused=True)
    runs = [started() for _ in range(2)]

    work_until_idle(flow)
    pending = Message.objects.filter(pending_outputs=True).count()
    Queue.objects.filter(name="flow-3").update(paused=False)

    def look() -> bool:
        work_until_idle(flow)
        return not Message.objects.exists()

    wait_for(look, PATIENCE)
    assert pending >= 1
    for run in runs:
        found = [each["payload"]["n"] for each in json.loads(run_of(run.pk).result or "")]
        assert found == list(range(5))
        assert statuses(run)[2] == "SKIPPED"
    assert books_are_balanced(2)


def test_a_branch_goes_to_its_join_and_counts_there_in_its_place():
    some = (
        "def run(m, c):\n    if m['payload']['n'] in (1, 10):\n"
        "        m['payload']['n'] *= 100\n        c.go('flow-3')\n    return m\n"
    )
    flow = make_flow(codes=[SPLIT, some, ECHO, GATHER])
    Step.objects.filter(name="flow-3").update(join=True)
    Step.objects.filter(name="flow-1").update(goes_to=["flow-3"])
    run = started({"count": 12})

    work_until_idle(flow)

    found = json.loads(run_of(run.pk).result or "")
    assert found == [0, 100, *range(2, 10), 1000, 11]
    assert run.step_runs.filter(step__name="flow-2").count() == 10
    assert books_are_balanced(1)


@pytest.mark.parametrize("what", ["a branch", "a list"])
def test_neither_a_branch_nor_a_list_goes_past_its_join(what):
    codes = {
        "a branch": [SPLIT, "def run(m, c):\n    return c.go('flow-3', m)\n", ECHO, ECHO],
        "a list": [SPLIT.replace("return ", "return c.go('flow-3', ") + ")", ECHO, ECHO, ECHO],
    }[what]
    flow = make_flow(codes=[code.replace("\n)", ")") for code in codes])
    Step.objects.filter(name="flow-2").update(join=True)
    Step.objects.filter(position__in=(0, 1)).update(goes_to=["flow-3"])
    run = started({"count": 2})

    work_until_idle(flow)

    letters = DeadLetter.objects.all()
    assert {letter.reason for letter in letters} == {DeadLetter.Reason.CANNOT_WORK}
    assert all("join 'flow-2'" in letter.error for letter in letters)
    assert run_of(run.pk).status == Run.Status.FAILED


def test_a_single_message_goes_past_a_join():
    flow = made(WAYS["given"][1])
    Step.objects.filter(name="flow-2").update(join=True)
    run = started()

    work_until_idle(flow)

    assert statuses(run)[2:] == ["SKIPPED", "COMPLETED", "COMPLETED"]
    assert books_are_balanced(1)


def test_a_dead_letter_behind_a_skipped_step_is_reprocessed_there():
    flow = made(WAYS["given"][1])
    bad = make_script("bad", "def run(m, c):\n    raise Reject('no')\n")
    Step.objects.filter(name="flow-3").update(script=bad)
    run = started()

    work_until_idle(flow)
    failed = statuses(run)
    bad.code = ECHO
    bad.save()
    engine.reprocess(DeadLetter.objects.get(), newest_script=True)
    work_until_idle(flow)

    assert failed == ["COMPLETED", "COMPLETED", "SKIPPED", "FAILED", "PENDING"]
    assert statuses(run)[2:] == ["SKIPPED", "COMPLETED", "COMPLETED"]


def test_the_ways_of_a_step_are_part_of_the_version_of_its_flow():
    flow = made(WAYS["given"][1])
    first = flow.make_version()
    step = Step.objects.get(name="flow-1")
    step.goes_to = []
    step.save()

    second = flow.make_version()

    assert second.number == first.number + 1
    assert [v.steps.get(position=1).goes_to for v in (first, second)] == [["flow-3"], []]


def document(**ways: list[str]) -> dict[str, Any]:
    return {
        "scripts": [{"name": "s", "code": ECHO}],
        "queues": [{"name": name} for name in "abc"],
        "flows": [
            {
                "name": "f",
                "steps": [
                    {"name": name, "script": "s", "queue": name, "goesTo": ways.get(name, [])}
                    for name in "abc"
                ],
            }
        ],
    }


def test_ways_come_in_and_go_out_where_they_are_set():
    import_configuration(document(a=["c"]))

    [flow] = export_configuration()["flows"]
    assert [step.get("goesTo") for step in flow["steps"]] == [["c"], None, None]
    assert not import_configuration(document(a=["c"]))
    assert import_configuration(document())
    assert Step.objects.get(name="a").goes_to == []


@pytest.mark.parametrize("ways", [{"b": ["a"]}, {"b": ["b"]}, {"a": ["nowhere"]}, {"c": ["a"]}])
def test_a_way_to_what_is_no_later_step_is_refused(ways):
    [[to]] = ways.values()

    with pytest.raises(ConfigurationInvalid) as refused:
        import_configuration(document(**ways))

    assert f'the flow has no later step "{to}"' in str(refused.value)


def panel(flow: Flow, name: str, what: str = "save_step") -> str:
    return reverse(f"admin:flows_flow_{what}", args=[flow.pk, flow.steps.get(name=name).pk, "step"])


def settings_of(step: Step, **values: Any) -> dict[str, Any]:
    names = {"name": step.name, "script": step.script.name, "queue": step.queue.name, "threads": 4}
    return names | values


def test_the_ways_of_a_step_are_chosen_on_the_page_of_its_flow(admin_client):
    flow = make_flow(codes=[ECHO] * 4)
    step = flow.steps.get(position=0)
    goes = settings_of(step, goes_to=["flow-2"])

    saved = admin_client.post(panel(flow, "flow-0"), goes)
    page = admin_client.get(reverse("admin:flows_flow_change", args=[flow.pk])).content.decode()

    assert saved.status_code in (200, 302)
    assert Step.objects.get(pk=step.pk).goes_to == ["flow-2"]
    assert "Its script may go to flow-2 with context.go" in page


@pytest.mark.parametrize("to", ["flow-0", "flow-9", "flow-1"])
def test_ways_that_lead_to_no_later_step_cannot_be_chosen(to, admin_client):
    flow = make_flow(codes=[ECHO] * 4)
    step = flow.steps.get(position=1)

    admin_client.post(panel(flow, "flow-1"), settings_of(step, goes_to=[to]))

    assert Step.objects.get(pk=step.pk).goes_to == []


def test_ways_follow_a_new_name_and_end_with_a_step_that_is_moved_or_removed(admin_client):
    flow = make_flow(codes=[ECHO] * 5)
    flow.steps.filter(position=0).update(goes_to=["flow-2", "flow-3", "flow-4"])
    renamed, moved, removed = (flow.steps.get(position=n) for n in (2, 3, 4))

    admin_client.post(panel(flow, "flow-2"), settings_of(renamed, name="new"))
    move = reverse("admin:flows_flow_move_step", args=[flow.pk])
    admin_client.post(move, {"move": f"{moved.pk}:0"})
    remove = reverse("admin:flows_flow_remove_step", args=[flow.pk, removed.pk])
    admin_client.post(remove, {})

    assert [step.name for step in flow.steps.all()] == ["flow-3", "flow-0", "flow-1", "new"]
    assert flow.steps.get(name="flow-0").goes_to == ["new"]


def test_a_trial_of_the_flow_goes_the_same_ways(admin_user):
    branch = "def run(m, c):\n    return c.go('flow-3', m) if m['payload']['n'] else m\n"
    flow = make_flow(codes=[SPLIT, branch, ECHO, GATHER])
    flow.steps.filter(position=3).update(join=True)
    flow.steps.filter(position=1).update(goes_to=["flow-3"])

    trial = try_flow(flow, '{"count": 3}', admin_user)

    assert [each.step.name[-1] for each in trial.tried] == list("011123")
    assert (trial.stop, json.loads(trial.result or "")) == ("", [0, 1, 2])


def test_a_trial_stops_where_a_script_goes_to_a_step_that_is_not_allowed(admin_user):
    flow = made(REFUSED["not listed"][1])

    trial = try_flow(flow, '{"n": 1}', admin_user)

    assert "it may go to 'flow-2', 'flow-3'" in str(trial.tried[-1].trial.error)


# --- random flows ------------------------------------------------------------------------------

OBEYS = (
    "def run(m, c):\n"
    "    what = m['orders'].get(c.step, {})\n"
    "    m.setdefault('trail', [])\n"
    "    out = {**m, 'trail': [*m['trail'], c.step]}\n"
    "    if type(out['payload']) is list:\n"
    "        out['payload'] = {'joined': out['payload']}\n"
    "    if what.get('fan'):\n"
    "        out = [out] * what['fan']\n"
    "    if what.get('go'):\n"
    "        return c.go(what['go'], out)\n"
    "    return c.finish(m['payload']) if what.get('finish') else out\n"
)
# A join gets payloads alone.
ORDERS_IN_PAYLOAD = OBEYS.replace("m['orders']", "orders_of(m['payload'])") + (
    "\n\ndef orders_of(payload):\n"
    "    while type(payload) is list or 'orders' not in payload:\n"
    "        payload = payload[0] if type(payload) is list else payload['joined']\n"
    "    return payload['orders']\n"
)


@st.composite
def journeys(draw):
    size = draw(st.integers(2, 6))
    joins = [number > 0 and draw(st.integers(0, 4)) == 0 for number in range(size)]
    orders, ways = {}, []
    for number in range(size):
        later = list(range(number + 1, size))
        way = draw(st.sampled_from([None, *later]))
        listed = draw(st.sets(st.sampled_from(later))) if later else set()
        ways.append(sorted(listed | ({way} if way else set())))
        order: dict[str, Any] = {}
        if way:
            order["go"] = f"flow-{way}"
        elif draw(st.integers(0, 5)) == 0:
            order["finish"] = True
        if later and not order.get("finish") and draw(st.integers(0, 3)) == 0:
            order["fan"] = draw(st.integers(1, 3))
        orders[f"flow-{number}"] = order
    return joins, ways, orders


def expected(joins: list[bool], orders: dict[str, Any]) -> tuple[str, list[int]]:
    """Return the status of the run, and how often each step has run."""
    size = len(joins)
    # Messages at each step: whether they are branches.
    at: list[list[bool]] = [[] for _ in range(size)]
    at[0] = [False]
    is_branched, failed = False, False
    counts = [0] * size
    for number in range(size):
        if joins[number] and is_branched and not failed:
            # All branches have ended here.
            at[number], is_branched = [False], False
        for branch in at[number]:
            counts[number] += 1
            order = orders[f"flow-{number}"]
            outputs = order.get("fan", 1) if number + 1 < size else 1
            fans = "fan" in order and number + 1 < size
            to = int(order["go"][5:]) if "go" in order else number + 1
            if order.get("finish") or to >= size:
                continue
            join = next((n for n in range(number + 1, size) if joins[n]), size)
            if to > join and (branch or fans):
                failed = True
                continue
            is_branched = is_branched or fans
            at[to] += [branch or fans] * outputs
    return (Run.Status.FAILED if failed else Run.Status.COMPLETED), counts


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow])
@given(journey=journeys())
def test_random_ways_end_as_they_must_and_all_is_counted(journey):
    joins, ways, orders = journey
    Run.objects.all().delete()
    for model in (DeadLetter, FlowTotals, Flow, Queue):
        model.objects.all().delete()
    flow = Flow.objects.create(name="flow")
    script = obeying()
    for number, is_join in enumerate(joins):
        name = f"flow-{number}"
        Step.objects.create(
            flow=flow,
            position=number,
            name=name,
            script=script,
            queue=Queue.objects.create(name=name, size=30),
            join=is_join,
            goes_to=[f"flow-{way}" for way in ways[number]],
        )
    run = started({"orders": orders})

    work_until_idle(flow)

    status, counts = expected(joins, orders)
    found = run_of(run.pk)
    assert found.status == status, found.error
    ran = [found.step_runs.filter(step__name=f"flow-{n}").count() for n in range(len(joins))]
    assert ran == counts
    assert [s == "SKIPPED" for s in statuses(run)] == [
        status == Run.Status.COMPLETED and not count for count in counts
    ] or status == Run.Status.FAILED
    assert [fault for each in check() for fault in each.faults()] == []
    assert set(QueueState.objects.values_list("depth", "reserved")) == {(0, 0)}


def obeying():
    found = Script.objects.filter(name="obeying").first()
    return found or make_script("obeying", ORDERS_IN_PAYLOAD)
