import hashlib
import json
from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from flows import engine
from flows.errors import (
    FlowNotRunnable,
    IdempotencyConflict,
    PayloadInvalid,
    QueueFull,
    UnknownFlow,
)
from flows.models import Flow, IdempotencyKey, Message, Run
from flows.store import store
from tests.builders import counters, make_flow, run_of

pytestmark = pytest.mark.django_db


def test_a_start_stores_the_run_and_its_message_in_the_first_queue():
    flow = make_flow()

    started = engine.start("flow", {"amount": 1})

    message = Message.objects.get()
    assert message.run_id == started.correlation_id
    assert json.loads(message.body) == {
        "correlationId": str(started.correlation_id),
        "payload": {"amount": 1},
    }
    assert message.queue.name == "flow-0"
    assert run_of(started.correlation_id).status == Run.Status.QUEUED
    assert run_of(started.correlation_id).flow_version.flow == flow
    assert counters("flow-0") == (1, 0)


def test_correlation_ids_are_uuids_of_version_7_and_sort_by_time():
    make_flow()

    ids = [engine.start("flow", {}).correlation_id for _ in range(20)]

    assert {id.version for id in ids} == {7}
    assert ids == sorted(ids)


def test_an_unknown_flow_is_refused():
    with pytest.raises(UnknownFlow, match="nowhere"):
        engine.start("nowhere", {})


def test_an_inactive_flow_is_refused_from_the_moment_it_is_saved():
    flow = make_flow()
    engine.start("flow", {})

    flow.active = False
    flow.save()

    with pytest.raises(FlowNotRunnable, match="inactive"):
        engine.start("flow", {})
    assert Run.objects.count() == 1


def test_a_flow_without_steps_is_refused():
    Flow.objects.create(name="empty")

    with pytest.raises(FlowNotRunnable, match="no steps"):
        engine.start("empty", {})


def test_a_full_queue_refuses_and_nothing_is_stored():
    make_flow(size=3)
    for _ in range(3):
        engine.start("flow", {})

    with pytest.raises(QueueFull) as refusal:
        engine.start("flow", {})

    assert refusal.value.retry_after >= 1
    assert (Run.objects.count(), Message.objects.count()) == (3, 3)
    assert counters("flow-0") == (3, 0)


def test_many_starts_are_stored_all_or_none():
    make_flow(size=10)

    ids = engine.start_many("flow", [{"n": n} for n in range(8)])
    with pytest.raises(QueueFull):
        engine.start_many("flow", [{"n": n} for n in range(3)])

    assert len(ids) == 8
    assert set(Run.objects.values_list("pk", flat=True)) == set(ids)


def test_a_payload_that_does_not_match_the_input_parameters_is_refused_with_the_fields():
    flow = make_flow()
    script = flow.steps.first().script
    script.input_schema = {
        "type": "object",
        "required": ["amount"],
        "properties": {"amount": {"type": "number", "minimum": 0}},
    }
    script.save()

    with pytest.raises(PayloadInvalid) as refusal:
        engine.start("flow", {"amount": -1})
    with pytest.raises(PayloadInvalid):
        engine.start("flow", {})

    assert refusal.value.errors[0]["path"] == "$.amount"
    assert Run.objects.count() == 0


def test_a_start_inside_a_transaction_goes_away_with_it():
    make_flow()

    with transaction.atomic():
        engine.start("flow", {})
        transaction.set_rollback(True)

    assert Run.objects.count() == 0
    assert counters("flow-0") == (0, 0)


def test_the_same_idempotency_key_gives_the_same_run():
    make_flow()

    first = engine.start("flow", {"a": 1}, idempotency_key="order-1")
    again = engine.start("flow", {"a": 1}, idempotency_key="order-1")

    assert again.correlation_id == first.correlation_id
    assert again.repeated
    assert Run.objects.count() == 1


def test_the_same_idempotency_key_with_another_payload_is_a_conflict():
    make_flow()
    engine.start("flow", {"a": 1}, idempotency_key="order-1")

    with pytest.raises(IdempotencyConflict):
        engine.start("flow", {"a": 2}, idempotency_key="order-1")

    assert Run.objects.count() == 1


def test_the_same_key_of_another_user_is_another_start():
    make_flow()
    one, other = (User.objects.create_user(name) for name in ("one", "other"))

    ids = {
        engine.start("flow", {"a": 1}, idempotency_key="order-1", user=user).correlation_id
        for user in (one, other, None)
        for _ in range(2)
    }

    assert len(ids) == Run.objects.count() == 3
    assert engine.start("flow", {"a": 2}, idempotency_key="order-2", user=other)


def test_the_same_key_of_another_flow_is_another_start():
    make_flow()
    make_flow("other")

    first = engine.start("flow", {}, idempotency_key="order-1")
    second = engine.start("other", {}, idempotency_key="order-1")

    assert first.correlation_id != second.correlation_id


def test_a_start_time_that_has_passed_since_is_still_the_same_request():
    make_flow()
    start_at = timezone.now() + timedelta(hours=1)
    first = engine.start("flow", {}, idempotency_key="order-1", start_at=start_at)

    later = start_at + timedelta(hours=1)
    with mock.patch.object(store().database, "now", return_value=later):
        again = engine.start("flow", {}, idempotency_key="order-1", start_at=start_at)
        with pytest.raises(IdempotencyConflict):
            engine.start("flow", {}, idempotency_key="order-1")

    assert again.correlation_id == first.correlation_id


@pytest.mark.parametrize("depth", [100, 199])
def test_a_deep_payload_may_have_a_key(depth):
    make_flow()
    payload = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    first = engine.start("flow", payload, idempotency_key="order-1")
    again = engine.start("flow", payload, idempotency_key="order-1")

    assert again.correlation_id == first.correlation_id


def test_a_key_from_before_the_callers_were_told_apart_still_counts():
    make_flow()
    first = engine.start("flow", {"b": 1, "a": 2}, idempotency_key="order-1")
    digest = hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    IdempotencyKey.objects.update(body_digest=digest)

    again = engine.start("flow", {"a": 2, "b": 1}, idempotency_key="order-1")

    assert again.correlation_id == first.correlation_id
    with pytest.raises(IdempotencyConflict):
        engine.start("flow", {"a": 2, "b": 3}, idempotency_key="order-1")


def test_editing_a_script_gives_the_flow_a_new_version_and_old_runs_keep_theirs():
    flow = make_flow()
    before = run_of(engine.start("flow", {}).correlation_id)
    script = flow.steps.first().script

    script.code += "\n# edited\n"
    script.save()
    after = run_of(engine.start("flow", {}).correlation_id)

    assert after.flow_version.number == before.flow_version.number + 1
    assert before.flow_version.steps.first().script_version.number == 1
    assert after.flow_version.steps.first().script_version.number == 2


def test_saving_a_script_without_a_change_makes_no_version():
    flow = make_flow()
    script = flow.steps.first().script

    script.save()

    assert script.versions.count() == 1


def test_a_script_version_cannot_be_changed():
    version = make_flow().steps.first().script.current_version

    version.code = "other"

    with pytest.raises(TypeError, match="immutable"):
        version.save()
