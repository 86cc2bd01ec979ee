"""The state of a flow where several messages read and change it at the same time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import engine
from flows.disposition import Decision, Disposition
from flows.models import Flow, FlowState, FlowStateTotals, Message, Run, StepRun, StepVersion
from flows.models.flow_state import size_of
from flows.plan import step_plan
from flows.store import DeliveryResult, HeldMessage
from flows.store.flow_state import with_state
from scripts.host.flow_state import State
from scripts.protocol.flow_state import versioned
from scripts.services.flow_states import pending_states, state_of
from tests.builders import hosts_of_this_thread, make_flow, make_script, work
from tests.side_by_side import at_the_same_time, shared_database
from tests.waiting import PATIENCE, wait_for

PYTHON = """
def run(message, context):
    n = context.state.get("n", 0)
    context.state.set("n", n + 1)
    context.state.increment("count")
    message["payload"]["n"] = n
    return message
"""
JAVASCRIPT = """
const n = await context.state.get("n", 0);
await context.state.set("n", n + 1);
await context.state.increment("count");
context.Data.payload.n = n;
setData(context.Data);
"""
MESSAGES = 120


@pytest.fixture
def shared(transactional_db: None, tmp_path) -> Iterator[None]:
    with shared_database(tmp_path):
        yield


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("language", "code"), [("python", PYTHON), ("javascript", JAVASCRIPT)], ids=["py", "js"]
)
def test_twenty_threads_that_get_and_set_lose_nothing(
    shared: None, language: str, code: str
) -> None:
    flow = make_flow(codes=[code], threads=20, max_deliveries=1)
    step = flow.steps.get()
    step.script = make_script("counting", code, language=language)
    step.save()
    engine.start_many("flow", [{} for _ in range(MESSAGES)])

    def at_rest() -> bool:
        work("flow-0", threads=20)
        return not Message.objects.exists()

    wait_for(at_rest, PATIENCE)

    given_out = [json.loads(run.result or "")["payload"]["n"] for run in Run.objects.all()]
    assert sorted(given_out) == list(range(MESSAGES))
    kept = dict(FlowState.objects.values_list("key", "value"))
    assert kept == {"n": str(MESSAGES), "count": str(MESSAGES)}
    # A message that is run again uses up no delivery, and its history does not show it.
    assert set(StepRun.objects.values_list("outcome", "delivery")) == {("COMPLETED", 1)}


@pytest.mark.long
def test_two_sessions_that_get_and_set_lose_nothing(shared: None) -> None:
    flow = make_flow(codes=[PYTHON, PYTHON], max_deliveries=1)
    engine.start_many("flow", [{} for _ in range(40)])
    own = Flow.objects.get(pk=flow.pk)

    assert at_the_same_time(*[lambda n=n: work_to_the_end(f"flow-{n}") for n in (0, 1)]) == []

    assert dict(FlowState.objects.filter(flow=own).values_list("key", "value")) == {
        "n": "80",
        "count": "80",
    }


def work_to_the_end(queue: str) -> None:
    """Work on a queue until no message is left anywhere, as a process of its own does."""
    with hosts_of_this_thread() as hosts:

        def at_rest() -> bool:
            if Message.objects.filter(queue__name=queue).exists():
                work(queue, hosts=hosts, cluster=queue)
            return not Message.objects.exists()

        wait_for(at_rest, PATIENCE, f"the end of {queue}")


# --- a model ---------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(-9, 9)
OPERATION = st.one_of(
    st.tuples(st.just("get"), KEYS, st.none()),
    st.tuples(st.just("set"), KEYS, NUMBERS),
    st.tuples(st.just("copy"), KEYS, KEYS),
    st.tuples(st.just("more"), KEYS, NUMBERS),
    st.tuples(st.just("increment"), KEYS, NUMBERS),
    st.tuples(st.just("delete"), KEYS, st.none()),
)
SCRIPT = st.lists(OPERATION, min_size=1, max_size=4)
# Calls that read before any of them is stored, those of a worker that knows what they leave.
BATCH = st.lists(SCRIPT, min_size=1, max_size=4)
ROUNDS = st.lists(st.tuples(st.booleans(), BATCH), min_size=1, max_size=4)


def performed(script: list[Any], state: Any) -> list[Any]:
    """Do what a script does; return what it has read."""
    seen = []
    for what, key, other in script:
        if what == "get":
            seen.append(state.get(key))
        elif what == "set":
            state.set(key, other)
        elif what == "copy":
            state.set(key, state.get(other, 0))
        elif what == "more":
            state.set(key, state.get(key, 0) + other)
        elif what == "increment":
            state.increment(key, other)
        else:
            state.delete(key)
    return seen


@dataclass
class Serial:
    """The model: one call after the other."""

    values: dict[str, int] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: int) -> None:
        self.values[key] = value

    def increment(self, key: str, by: int) -> None:
        self.values[key] = self.values.get(key, 0) + by

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


def writes_only_what_it_reads(script: list[Any]) -> bool:
    """Whether nothing that it writes depends on a key that it does not write."""
    return all(what != "copy" or key == other for what, key, other in script)


@pytest.mark.django_db
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROUNDS)
def test_what_is_stored_is_what_calls_one_after_the_other_leave(rounds: list[Any]) -> None:
    with transaction.atomic():
        step = a_step()
        flow_id, model = step_plan(step).site.flow_id, Serial()
        pending_states.clear()
        for knows, batch in rounds:
            left = [script for script in batch if writes_only_what_it_reads(script)]
            while left:
                left = stored(step, flow_id, left, knows, model)
        kept = dict(FlowState.objects.filter(flow=flow_id).values_list("key", "value"))
        assert kept == {key: str(value) for key, value in model.values.items()}
        totals = FlowStateTotals.objects.filter(pk=flow_id).first()
        sizes = [size_of(*row) for row in kept.items()]
        assert not totals or (totals.keys, totals.bytes) == (len(sizes), sum(sizes))
        transaction.set_rollback(True)


def stored(step: int, flow_id: int, scripts: list[Any], knows: bool, model: Serial) -> list[Any]:
    """Store a batch of calls; return those that are to be run again."""
    calls = []
    for number, script in enumerate(scripts):
        state = State(lambda request: state_of(flow_id, request["key"]), {})
        performed(script, state)
        changes = versioned(state._all_changes())
        if knows and changes:
            pending_states.note(flow_id, changes)
        held = HeldMessage(str(number), str(number), step, "{}", 1)
        accepted = Decision(Disposition.ACCEPTED)
        calls.append(DeliveryResult(held, accepted, 0.0, 0.0, state=changes))
    settled = with_state(calls, timezone.now())
    again = []
    for script, result in zip(scripts, settled, strict=True):
        if result.disposition is Disposition.ACCEPTED:
            performed(script, model)
        else:
            again.append(script)
    assert len(again) < len(scripts), "one of them is stored at least"
    # What is added to a value that a worker does not know is read when it is stored.
    if knows and not any(what == "increment" for script in scripts for what, *_ in script):
        assert again == [], "what is read is what calls before it leave"
    pending_states.clear()
    return again


def a_step() -> int:
    make_flow(codes=[PYTHON]).make_version()
    return StepVersion.objects.values_list("pk", flat=True).get()
